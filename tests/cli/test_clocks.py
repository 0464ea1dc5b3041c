"""Sources whose clock is odd: below zero, late, faster than stated, with frames left out."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest

from diffst_cli.checks import read_packets
from diffst_cli.errors import UserError
from diffst_cli.job import UpscaleJob
from diffst_cli.pieces import PieceWriter
from diffst_cli.probe import probe
from diffst_cli.reader import read_frames, require_start
from diffst_cli.writer import Output
from tests.outputs import (
    TONE,
    copy_video,
    frame_times,
    grey_frames,
    job_for,
    make,
    make_clip,
    write,
)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_frames_that_come_faster_than_the_rate_stated_keep_their_times(
    suffix: str, tmp_path: Path
) -> None:
    source = make_clip(tmp_path / "source.mkv", num_frames=2)
    info = probe(source)
    slow = [Fraction(n, 25) for n in range(30)]
    fast = [slow[-1] + Fraction(n + 1, 50) for n in range(60)]
    job = job_for(info, tmp_path / f"out{suffix}", preset="medium")
    receipt = write(info, job, grey_frames(info, (64, 48), slow + fast), cuts=(40,))
    assert receipt.ok, [check for check in receipt.checks if not check.ok]
    assert frame_times(job.output) == pytest.approx(slow + fast, abs=0.0011)


def below_zero(folder: Path, suffix: str, *arguments: str) -> Path:
    """A second of video, its clock begun half a second or two before 0, with a tone from the same moment."""
    tone = ["-f", "lavfi", "-i", f"{TONE}:duration=1"]
    whole = make_clip(folder / f"whole{suffix}", *tone, *arguments, num_frames=25)
    if suffix == ".ts":  # of a clock that turns over within the minute
        shift = ["-i", str(whole), "-c", "copy", "-output_ts_offset", "95440"]
    else:
        shift = ["-itsoffset", "-0.5", "-i", str(whole), "-c", "copy"]
        shift += ["-avoid_negative_ts", "disabled"]
    return make(folder / f"below{suffix}", *shift)


IN_MATROSKA = ("-c:v", "mjpeg", "-c:a", "flac")


@pytest.mark.parametrize(("suffix", "arguments"), [(".ts", ()), (".mkv", IN_MATROSKA)])
def test_a_clock_that_begins_below_zero_keeps_sound_and_picture_together(
    suffix: str, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    source = below_zero(tmp_path, suffix, *arguments)
    info = probe(source)
    assert info.origin_seconds <= -0.5
    output = tmp_path / "out.mkv"
    with read_frames(info) as reader:
        times = [frame.time for frame in reader]
    assert times == pytest.approx(
        [info.start_seconds + Fraction(n, 25) for n in range(25)], abs=0.001
    )
    assert copy_video(source, output).ok
    made = probe(output)
    assert float(made.start_seconds - made.origin_seconds) < 0.05
    assert float(made.duration_seconds or 0) == pytest.approx(1, abs=0.1)


def test_no_part_is_taken_of_a_file_that_cannot_be_entered(tmp_path: Path) -> None:
    info = probe(below_zero(tmp_path, ".mkv", *IN_MATROSKA))
    with pytest.raises(UserError, match="begins before its clock's zero, so no part"):
        require_start(info, Fraction(1, 2))
    begin = info.origin_seconds + Fraction(1, 2)
    with read_frames(info, start=Fraction(1, 2)) as reader:  # as a run that goes on does
        assert next(reader).time == pytest.approx(begin, abs=0.04)


def test_frames_that_do_not_say_when_they_are_shown_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="its first frames do not say when they are shown"):
        probe(below_zero(tmp_path, ".mkv", "-c:a", "flac"))


def test_sound_that_is_lost_fails_the_receipt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_clip(tmp_path / "source.mkv", "-f", "lavfi", "-i", f"{TONE}:duration=0.4")
    monkeypatch.setattr(
        "diffst_cli.muxing._stream_options", lambda number, *_: {f"bsf:{number}": "noise=drop=1"}
    )
    receipt = copy_video(source, tmp_path / "out.mkv")
    assert [(check.name, check.actual) for check in receipt.checks if not check.ok] == [
        ("audio", "none")
    ]


def test_a_late_video_is_shown_from_the_beginning_in_avi(tmp_path: Path) -> None:
    late = make_clip(tmp_path / "picture.mp4")
    inputs = ["-itsoffset", "0.2", "-i", str(late), "-f", "lavfi", "-i", f"{TONE}:duration=0.6"]
    source = make(tmp_path / "source.mkv", *inputs, "-c:v", "copy", "-c:a", "mp2")
    output = tmp_path / "out.avi"
    receipt = copy_video(source, output)
    assert receipt.ok, [check for check in receipt.checks if not check.ok]
    times = read_packets(output, probe(output).stream_index).video_times
    assert times == pytest.approx([0, *(n / 25 for n in range(6, 15))])


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_a_late_video_goes_into_avi_beside_mp3_at_any_rate(factor: int, tmp_path: Path) -> None:
    late = make_clip(tmp_path / "picture.mp4", num_frames=15)
    inputs = ["-itsoffset", "0.4", "-i", str(late), "-f", "lavfi", "-i", f"{TONE}:duration=1.1"]
    info = probe(make(tmp_path / "in.mkv", *inputs, "-c:v", "copy", "-c:a", "libmp3lame"))
    job = job_for(info, tmp_path / "out.avi", fps=info.frame_rate * factor)
    times = [info.start_seconds + Fraction(n, 25 * factor) for n in range(15 * factor)]
    receipt = write(info, job, grey_frames(info, (64, 48), times))
    assert receipt.ok, [check for check in receipt.checks if not check.ok]


def test_frames_left_out_of_an_avi_do_not_part_decoding_from_showing(tmp_path: Path) -> None:
    dropped = ["-vf", "select='mod(n,4)'", "-fps_mode", "passthrough", "-c:v", "mpeg4"]
    source = make_clip(tmp_path / "source.avi", *dropped, num_frames=280)
    output = tmp_path / "out.mp4"
    assert copy_video(source, output, preset="medium").ok
    with av.open(str(output)) as container:
        stamps = [(each.pts, each.dts) for each in container.demux(video=0) if each.pts is not None]
        base = container.streams.video[0].time_base
    assert max((pts - dts) * base for pts, dts in stamps) < 1


def test_an_avi_that_leaves_out_a_frame_keeps_its_rate_and_times(tmp_path: Path) -> None:
    dropped = ["-vf", "select='not(eq(n,3)+eq(n,4))'", "-fps_mode", "passthrough"]
    source = make_clip(tmp_path / "source.avi", *dropped, "-c:v", "mpeg4", num_frames=20)
    info = probe(source)
    assert (float(info.frame_rate), info.is_variable) == (25, False)
    output = tmp_path / "out.avi"
    assert copy_video(source, output).ok
    slots = [n / 25 for n in range(20) if n not in (3, 4)]
    for path in (source, output):
        assert read_packets(path, info.stream_index).video_times == pytest.approx(slots)


def test_an_avi_that_leaves_out_most_frames_has_the_rate_of_the_rest(tmp_path: Path) -> None:
    sparse = ["-vf", "select='not(mod(n,5))'", "-fps_mode", "passthrough", "-c:v", "mpeg4"]
    source = make_clip(tmp_path / "source.avi", *sparse, num_frames=50)
    assert float(probe(source).frame_rate) == 5


def test_an_average_that_no_file_could_hold_may_be_doubled(tmp_path: Path) -> None:
    info = replace(
        probe(make_clip(tmp_path / "clip.mp4", num_frames=2)),
        frame_rate=Fraction(1350045000, 49511509),
        is_variable=True,
    )
    job = UpscaleJob(input=info.path, output=tmp_path / "out.mp4", fps_x=Fraction(2))
    assert float(job.output_rate(info)) == pytest.approx(54.5346, abs=1e-3)


@pytest.mark.parametrize("start", [None, Fraction(2)])
def test_pictures_that_an_mxf_times_as_they_are_stored_come_evenly(
    start: Fraction | None, tmp_path: Path
) -> None:
    stored = ["-c:v", "libx264", "-bf", "2", "-g", "12"]
    source = make_clip(tmp_path / "source.mxf", *stored, num_frames=75)
    with read_frames(probe(source), start=start) as reader:
        frames = [(frame.time, frame.image) for frame in reader]
    first = 0 if start is None else 50
    assert [time for time, _ in frames] == [Fraction(n, 25) for n in range(first, 75)]
    right = make(
        tmp_path / "right.mkv", "-i", str(source), "-c:v", "ffv1", "-fps_mode", "passthrough"
    )
    with read_frames(probe(right)) as reader:
        pictures = [frame.image for frame in reader][first:]
    assert all((a == b[1]).all() for a, b in zip(pictures, frames, strict=True))


@pytest.mark.parametrize("name", ["out.mp4", "out.mov", "out.mkv", "out.gif"])
@pytest.mark.parametrize("num_frames", [14, 15])
def test_a_last_picture_that_is_held_is_held(name: str, num_frames: int, tmp_path: Path) -> None:
    info = replace(probe(make_clip(tmp_path / "clip.mkv", num_frames=2)), is_variable=True)
    job = job_for(info, tmp_path / name, preset=None if name == "out.gif" else "medium")
    times = [Fraction(n, 20) for n in range(num_frames)]
    output = Output(job, info)
    with PieceWriter(tmp_path, 0, output.piece_settings) as writer:
        for image, time in grey_frames(info, (64, 48), times):
            writer.write(image, time)
        piece = writer.finish()
    receipt = output.finish([piece], tmp_path, times[0], times[-1] + 3)
    assert receipt.ok, [check for check in receipt.checks if not check.ok]
    made = probe(job.output)
    assert made.is_variable
    assert float(made.duration_seconds or 0) == pytest.approx(float(times[-1] + 3), abs=0.1)


def test_recordings_that_were_joined_keep_sound_and_picture_together(tmp_path: Path) -> None:
    tone = ["-f", "lavfi", "-i", f"{TONE}:duration=1"]
    part = make_clip(tmp_path / "part.ts", *tone, "-c:a", "mp2", num_frames=25).read_bytes()
    joined = tmp_path / "joined.ts"
    joined.write_bytes(part * 3)
    with read_frames(probe(joined)) as reader:
        times = [float(frame.time) for frame in reader]
    begins = [times[25 * n] - times[0] for n in range(3)]
    assert times[-1] - times[0] == pytest.approx(74 / 25, abs=0.1)
    assert begins == pytest.approx([0, 1, 2], abs=0.1)


def test_a_clock_that_is_set_far_back_changes_neither_rate_nor_length(tmp_path: Path) -> None:
    part = make_clip(tmp_path / "part.ts", num_frames=25)
    late = make(tmp_path / "late.ts", "-i", str(part), "-c", "copy", "-output_ts_offset", "1000")
    joined = tmp_path / "joined.ts"
    joined.write_bytes(late.read_bytes() + part.read_bytes())
    info = probe(joined)
    assert (float(info.frame_rate), info.is_variable) == (25, False)
    with read_frames(info) as reader:
        times = [float(frame.time) for frame in reader]
    assert times[-1] - times[0] == pytest.approx(49 / 25, abs=0.1)


def test_the_gap_between_recordings_that_were_broadcast_apart_is_closed(tmp_path: Path) -> None:
    part = make_clip(tmp_path / "part.ts", num_frames=25)
    late = make(tmp_path / "late.ts", "-i", str(part), "-c", "copy", "-output_ts_offset", "100")
    joined = tmp_path / "joined.ts"
    joined.write_bytes(part.read_bytes() + late.read_bytes())
    with read_frames(probe(joined)) as reader:
        times = [float(frame.time) for frame in reader]
    assert times[-1] - times[0] == pytest.approx(49 / 25, abs=0.1)
