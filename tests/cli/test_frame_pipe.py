import os
import resource
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from diffst_cli import ffmpeg
from diffst_cli.encoding import Encoding, choose_encoding
from diffst_cli.errors import UserError
from diffst_cli.frame_pipe import FramePipe, _padded, failure
from diffst_cli.job import MAX_FPS
from diffst_cli.probe import VideoInfo, probe
from diffst_cli.reader import read_frames
from diffst_cli.timing import Timeline
from tests.media import make_video
from tests.outputs import frame_times, make_clip

BLACK = np.zeros((48, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> VideoInfo:
    return probe(make_clip(tmp_path_factory.mktemp("pipe") / "clip.mp4", num_frames=2))


@pytest.fixture(scope="module")
def encoding(clip: VideoInfo) -> Encoding:
    return choose_encoding(
        clip, suffix=".mp4", size=(64, 48), codec=None, crf=None, preset="ultrafast"
    )


def open_pipe(path: Path, encoding: Encoding, rate: Fraction = Fraction(30000, 1001)) -> FramePipe:
    return FramePipe(path, encoding, frame_rate=rate, constant_rate=True, deep=False)


def write_many(pipe: FramePipe) -> None:
    """More than any pipe's buffer holds."""
    for number in range(1, 1000):
        pipe.write(BLACK, Fraction(number))


def test_times_rounded_to_milliseconds_become_even_again(
    encoding: Encoding, tmp_path: Path
) -> None:
    path = tmp_path / "out.mp4"
    step = Fraction(1001, 30000)
    pipe = open_pipe(path, encoding)
    given = [pipe.write(BLACK, Fraction(round(n * step * 1000), 1000)) for n in range(20)]
    pipe.close()
    assert given == [n * step for n in range(20)]
    assert frame_times(path) == given


def test_frames_made_of_a_duplicate_stay_in_order_and_the_others_even(
    encoding: Encoding, tmp_path: Path
) -> None:
    keyframes = [Fraction(n, 1000) for n in (0, 17, 33, 50)]
    keyframes.insert(2, keyframes[1] + Fraction(1, 240))  # as it is squeezed in
    timeline = Timeline(fps_x=Fraction(5))
    instants = [instant for time in keyframes for instant in timeline.add(time)]
    path = tmp_path / "out.mp4"
    pipe = open_pipe(path, encoding, Fraction(300))
    written = [pipe.write(BLACK, instant.time) for instant in instants]
    pipe.close()
    assert frame_times(path) == written == sorted(set(written))
    assert written[:6] == [Fraction(n, 300) for n in range(6)]
    errors = [abs(a - b.time) for a, b in zip(written, instants, strict=True)]
    assert max(errors) <= Fraction(1, 1000)


def test_a_frame_that_is_not_later_is_an_error(encoding: Encoding, tmp_path: Path) -> None:
    pipe = open_pipe(tmp_path / "out.mp4", encoding)
    pipe.write(BLACK, Fraction(1, 25))
    with pytest.raises(ValueError, match="not later"):
        pipe.write(BLACK, Fraction(1, 25))
    pipe.stop()


@pytest.mark.parametrize(("rate", "factor"), [(60, 16), (24, 64), (60, 32), (120, 16)])
def test_frames_nearer_than_a_millisecond_stay_apart(
    rate: int, factor: int, encoding: Encoding, tmp_path: Path
) -> None:
    timeline = Timeline(fps_x=Fraction(factor))
    pipe = open_pipe(tmp_path / "out.mp4", encoding, Fraction(rate * factor))
    rounded_down = (Fraction(n * 1000 // rate, 1000) for n in range(6))
    given = [
        pipe.write(BLACK, instant.time) for time in rounded_down for instant in timeline.add(time)
    ]
    pipe.stop()
    assert len(given) == 5 * factor
    assert given == sorted(set(given))


def test_a_moment_further_off_than_rounding_explains_is_kept(
    encoding: Encoding, tmp_path: Path
) -> None:
    pipe = open_pipe(tmp_path / "out.mp4", encoding, Fraction(25))
    times = [Fraction(0), Fraction(41, 1000), Fraction(83, 1000), Fraction(119, 1000)]
    given = [pipe.write(BLACK, time) for time in times]
    pipe.stop()
    assert given == [0, Fraction(40, 1000), Fraction(83, 1000), Fraction(120, 1000)]


def test_a_pixel_that_is_lacking_repeats_the_last_one() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    padded = _padded(image, (3, 3), deep=False)
    assert np.array_equal(padded[:2, :2], image)
    assert np.array_equal(padded[:, 2], padded[:, 1])
    assert np.array_equal(padded[2], padded[1])


def test_a_gap_in_a_constant_rate_is_kept(encoding: Encoding, tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    times = [Fraction(0), Fraction(1, 25), Fraction(1, 2), Fraction(13, 25)]
    pipe = open_pipe(path, encoding, Fraction(25))
    for time in times:
        pipe.write(BLACK, time)
    pipe.close()
    assert frame_times(path) == times


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_the_number_of_cores_is_not_seen_in_the_file(codec: str, tmp_path: Path) -> None:
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    if len(cores) < 2:
        pytest.skip("one core, or no way to choose")
    source = make_video(tmp_path / "source.mp4", size=(640, 360), num_frames=24)
    info = probe(source)
    encoding = choose_encoding(
        info, suffix=".mp4", size=(640, 360), codec=codec, crf=None, preset="ultrafast"
    )
    files = []
    try:
        for used in (cores, {min(cores)}):
            os.sched_setaffinity(0, used)
            files.append(tmp_path / f"{len(used)}.mp4")
            pipe = open_pipe(files[-1], encoding)
            for frame in read_frames(info):
                pipe.write(frame.image, frame.time)
            pipe.close()
    finally:
        os.sched_setaffinity(0, cores)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_frames_that_are_not_in_order_or_do_not_fit_are_ours_to_fix(
    encoding: Encoding, tmp_path: Path
) -> None:
    pipe = open_pipe(tmp_path / "out.mp4", encoding)
    pipe.write(BLACK, Fraction(1))
    with pytest.raises(ValueError, match="not later"):
        pipe.write(BLACK, Fraction(1))
    with pytest.raises(ValueError, match="shape"):
        pipe.write(np.zeros((24, 64, 3), np.uint8), Fraction(2))
    with pytest.raises(ValueError, match="uint16"):
        pipe.write(BLACK.astype(np.uint16), Fraction(2))
    pipe.stop()


def fake_ffmpeg(folder: Path, message: str) -> Path:
    """A program that says `message` and dies, as ffmpeg does when it cannot go on."""
    path = folder / "ffmpeg"
    path.write_text(
        '#!/bin/sh\n[ "$1" = -version ] && echo "ffmpeg version 7.1" && exit 0\n'
        f"head -c 1000 > /dev/null\necho '[out#0 @ 0x1] [error] {message}' >&2\nexit 1\n"
    )
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("Error writing trailer: No space left on device", "the disk is full"),
        ("Something odd happened.", "ffmpeg failed while encoding: Something odd happened"),
    ],
)
def test_a_dying_ffmpeg_becomes_one_sentence(
    message: str, told: str, encoding: Encoding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFST_FFMPEG", str(fake_ffmpeg(tmp_path, message)))
    ffmpeg.ffmpeg_path.cache_clear()
    try:
        pipe = open_pipe(tmp_path / "out.mp4", encoding)
        with pytest.raises(UserError) as caught:
            write_many(pipe)
        pipe.stop()
    finally:
        ffmpeg.ffmpeg_path.cache_clear()
    assert caught.value.message == told


def test_a_killed_ffmpeg_is_told_too(encoding: Encoding, tmp_path: Path) -> None:
    pipe = open_pipe(tmp_path / "out.mp4", encoding)
    pipe.write(BLACK, Fraction(0))
    pipe.stop()
    with pytest.raises(UserError, match="ffmpeg was killed by signal 9 while encoding"):
        write_many(pipe)


def test_a_limit_on_the_size_of_files_is_told(encoding: Encoding, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, before[1]))
    try:
        pipe = open_pipe(tmp_path / "out.mp4", encoding)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with pytest.raises(UserError, match="its file reached the size that is allowed here") as caught:
        write_many(pipe)
    assert caught.value.hint == "allow larger ones, as with `ulimit -f unlimited`"


def test_a_warning_is_never_the_reason() -> None:
    lines = ["[a @ 0x1] [warning] Setting chroma position directly is deprecated"]
    assert failure("encoding", lines).message == "ffmpeg failed while encoding: it was stopped"
    assert failure("encoding", ["Conversion failed!", *lines]).message.endswith(
        "Conversion failed!"
    )
    killed = failure("encoding", lines, -9)
    assert killed.message == "ffmpeg was killed by signal 9 while encoding"
    assert "memory" in str(killed.hint)
    assert failure("encoding", ["No space left on device"], -15).message == "the disk is full"


def test_all_that_ffmpeg_said_is_logged_for_debugging(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"):
        failure("joining", ["[a @ 0x1] [warning] first", "[a @ 0x1] [error] second"])
    assert "first" in caplog.text


def test_a_full_disk_is_told_from_any_line() -> None:
    lines = ["[mov @ 0x1] [error] av_interleaved_write_frame(): No space left on device", "more"]
    assert failure("joining", lines).message == "the disk is full"
    assert failure("joining", []).message == "ffmpeg failed while joining: it was stopped"
    assert os.linesep not in failure("joining", ["a", "b"]).message


@pytest.mark.parametrize("codec", ["h264", "vp9"])
def test_as_many_frames_a_second_as_may_be_asked_for_are_encoded(
    codec: str, clip: VideoInfo, tmp_path: Path
) -> None:
    path = tmp_path / "out.mp4"
    fast = choose_encoding(clip, suffix=".mp4", size=(64, 48), codec=codec, crf=None, preset=None)
    times = [Fraction(n, MAX_FPS) for n in range(8)]
    pipe = open_pipe(path, fast, Fraction(MAX_FPS))
    for time in times:
        pipe.write(BLACK, time)
    pipe.close()
    assert frame_times(path) == times
