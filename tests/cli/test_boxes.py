"""When a track ends, read from an MP4's own headers."""

import struct
from fractions import Fraction
from pathlib import Path

import pytest

from diffst_cli.boxes import track_end
from diffst_cli.checks import read_packets
from diffst_cli.probe import probe
from tests.media import run_ffmpeg
from tests.outputs import make_clip

# The fourth frame is held for a second: by its packets the last one is, decoded when that is shown.
PAUSE = "settb=1/90000,setpts='3600*N+if(gte(N,4),90000,0)'"
REORDERED = ("-vf", PAUSE, "-fps_mode", "passthrough", "-enc_time_base", "1:90000", "-bf", "3")


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_a_pause_before_the_last_frame_lengthens_neither_an_output_nor_an_input(
    suffix: str, tmp_path: Path
) -> None:
    plain = make_clip(tmp_path / "plain.mkv", *REORDERED, "-b_strategy", "0", num_frames=7)
    clip = tmp_path / f"clip{suffix}"
    run_ffmpeg("-i", plain, "-c", "copy", clip)
    packets = read_packets(clip, 0)
    assert packets.video_times[-1] == pytest.approx(1.24, abs=0.002)
    assert packets.video_end == pytest.approx(1.28, abs=0.002)
    assert float(probe(clip).duration_seconds or 0) == pytest.approx(1.28, abs=0.002)


def test_a_track_ends_after_what_comes_before_it(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4")
    late = tmp_path / "late.mp4"
    run_ffmpeg(
        "-itsoffset", "2", "-i", clip, "-i", clip, "-map", "0", "-map", "1", "-c", "copy", late
    )
    assert [track_end(late, number) for number in (1, 2, 3)] == [
        Fraction(12, 5),
        Fraction(2, 5),
        None,
    ]


def test_headers_of_eight_bytes_are_read_and_broken_or_silent_ones_say_nothing(
    tmp_path: Path,
) -> None:
    path = tmp_path / "x.mp4"

    def end_of(movie: bytes) -> Fraction | None:
        path.write_bytes(box(b"ftyp", b"isom") + movie)
        return track_end(path, 7)

    head = box(b"mvhd", struct.pack(">B3xQQIQ", 1, 0, 0, 1000, 5000))
    track = box(b"trak", box(b"tkhd", struct.pack(">B3xQQI4xQ", 1, 0, 0, 7, 4500)))
    assert end_of(box(b"moov", head, track)) == Fraction(9, 2)
    silent = box(b"trak", box(b"tkhd", struct.pack(">B3xIII4xI", 0, 0, 0, 7, 2**32 - 1)))
    assert end_of(box(b"moov", head, silent)) is None
    assert end_of(box(b"moov", track)) is None
    assert end_of(box(b"moov", head, track)[:-20]) is None
    assert end_of(box(b"mdat", bytes(8))) is None
    assert end_of(box(b"moov", head, box(b"trak", box(b"tkhd", bytes(4))))) is None
