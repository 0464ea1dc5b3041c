"""Parts of files that are entered badly: near their beginning, of joined recordings, of raw streams, of edit lists."""

import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from diffst_cli.probe import probe
from diffst_cli.reader import Frame, read_frames
from tests.media import make_variable_rate
from tests.outputs import copy_video, grey_frames, job_for, make_clip, write

F = Fraction
OUT_OF_ORDER = ("-c:v", "mpeg4", "-bf", "2", "-g", "10", "-qscale:v", "2")
BEEPS = "aevalsrc='0.8*sin(2764*t)*between(t,{},{})':sample_rate=48000:duration={}"


def read(path: Path, start: Fraction | None = None) -> list[Frame]:
    with read_frames(probe(path), start=start) as reader:
        return list(reader)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("a.avi", OUT_OF_ORDER),
        ("a.flv", ("-c:v", "libx264", "-g", "10", "-bf", "2")),
        ("a.ts", ("-c:v", "libx264", "-g", "10", "-bf", "2")),
        ("a.m2v", ("-c:v", "mpeg2video", "-g", "10", "-bf", "2")),
        ("a.h264", ("-c:v", "libx264", "-g", "10", "-bf", "2")),
    ],
)
@pytest.mark.parametrize("start", [F(0), F(1, 25), F(4, 25), F(36, 25)])
def test_a_part_begins_where_it_was_wanted(
    name: str, arguments: tuple[str, ...], start: Fraction, tmp_path: Path
) -> None:
    path = make_clip(tmp_path / name, *arguments, num_frames=40)
    begin = probe(path).origin_seconds + start
    wanted = [frame for frame in read(path) if frame.time >= begin]
    part = read(path, start)
    assert [frame.time for frame in part] == [frame.time for frame in wanted]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(part, wanted, strict=True))
    assert len(part) > 2


def test_a_part_whose_first_pictures_are_missing_says_so(tmp_path: Path) -> None:
    path = make_variable_rate(tmp_path / "a.mkv", (0, 40, 80, 120, 520, 560))
    info = replace(probe(path), is_variable=False, frame_rate=F(25))
    for start, gap in ((F(4, 25), 0.36), (F(3, 25), None)):
        with read_frames(info, start=start) as reader:
            list(reader)
        told = f"`{path}` has no picture for {gap:.2f} s where the part begins" if gap else None
        assert reader.report.gap == told


def joined(folder: Path, name: str, num_parts: int) -> Path:
    """Recordings of 0.8 s, each with a clock of its own, a beep at 0.4 s, and sound that ends 0.2 s too soon."""
    beep = ["-f", "lavfi", "-i", BEEPS.format(0.4, 0.45, 0.6)]
    coders = ["-c:v", "mpeg2video", "-c:a", "mp2", "-b:a", "192k"]
    part = make_clip(folder / f"part{name}", *beep, *coders, num_frames=20)
    path = folder / name
    path.write_bytes(part.read_bytes() * num_parts)
    return path


def beeps(path: Path) -> list[float]:
    """When sound becomes loud, seconds."""
    found: list[float] = []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            sound = np.abs(frame.to_ndarray().astype(float)).reshape(-1)
            peak = 1.0 if frame.format.name.startswith("flt") else 2.0 ** (8 * frame.format.bytes)
            loud = np.flatnonzero(sound > peak / 10)
            if len(loud) and frame.pts is not None and frame.time_base is not None:
                time = float(frame.pts * frame.time_base) + int(loud[0]) / frame.sample_rate
                if not found or time - found[-1] > 0.2:
                    found.append(time)
    return found


@pytest.mark.parametrize("name", ["joined.ts", "joined.mpg"])
def test_of_joined_recordings_every_one_is_whole_and_in_step(name: str, tmp_path: Path) -> None:
    path = joined(tmp_path, name, 4)
    info = probe(path)
    for start in (F(0), F(1, 5)):
        times = [frame.time for frame in read(path, start)]
        assert len(times) == 80 - 25 * start
        output = tmp_path / f"from {float(start)}.mkv"
        frames = grey_frames(info, (info.width, info.height), times)
        assert write(info, job_for(info, output, start=start), frames).ok
        wanted = [0.4 + 0.8 * part - float(start) for part in range(4)]
        assert beeps(output) == pytest.approx(wanted, abs=0.06)


def test_sound_that_is_cut_into_flac_needs_no_first_block_of_any_length(tmp_path: Path) -> None:
    tone = ["-f", "lavfi", "-i", "sine=sample_rate=44100:duration=0.4", "-c:a", "adpcm_ima_qt"]
    source = make_clip(tmp_path / "old.mov", *tone)  # packets of 64 samples, of which 12 are left
    assert copy_video(source, tmp_path / "out.mkv", start=F(1, 5)).ok


def with_edits(source: Path, path: Path, edits: list[tuple[Fraction, Fraction]]) -> Path:
    """A MOV whose tracks show, one after another, so many seconds from so many on."""

    def atom(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I4s", len(content) + 8, kind) + content

    def atoms(content: bytes) -> list[tuple[bytes, bytes]]:
        found, place = [], 0
        while place < len(content):
            size, kind = struct.unpack_from(">I4s", content, place)
            found.append((kind, content[place + 8 : place + size]))
            place += size
        return found

    def track(content: bytes, scale: int) -> bytes:
        media = dict(atoms(dict(atoms(content))[b"mdia"]))
        (own,) = struct.unpack_from(">I", media[b"mdhd"], 12)
        rows = [
            struct.pack(">IiI", int(length * scale), int(begin * own), 0x10000)
            for length, begin in edits
        ]
        listed = atom(b"elst", struct.pack(">II", 0, len(rows)) + b"".join(rows))
        kept = [part for part in atoms(content) if part[0] != b"edts"]
        kept.insert(1, (b"edts", listed))
        return b"".join(atom(*part) for part in kept)

    def movie(content: bytes) -> bytes:
        (scale,) = struct.unpack_from(">I", dict(atoms(content))[b"mvhd"], 12)
        return b"".join(
            atom(kind, track(part, scale) if kind == b"trak" else part)
            for kind, part in atoms(content)
        )

    path.write_bytes(
        b"".join(
            atom(kind, movie(part) if kind == b"moov" else part)
            for kind, part in atoms(source.read_bytes())
        )
    )
    return path


def test_sound_of_several_edits_is_found_in_a_part(tmp_path: Path) -> None:
    beep = ["-f", "lavfi", "-i", BEEPS.format(0.5, 0.55, 2), "-c:a", "pcm_s16le"]
    plain = make_clip(tmp_path / "plain.mov", *beep, "-g", "1", "-bf", "0", num_frames=50)
    cut = with_edits(plain, tmp_path / "cut.mov", [(F(1), F(1)), (F(1), F(0))])
    assert beeps(copy_video(cut, tmp_path / "whole.mkv").output) == pytest.approx([1.5], abs=0.03)
    part = copy_video(cut, tmp_path / "part.mkv", start=F(6, 5))
    assert part.ok
    assert beeps(part.output) == pytest.approx([0.3], abs=0.03)
