"""However reading ends, what reads ends with it: stopped, closed from another thread, killed, forgotten."""

import gc
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import psutil
import pytest

from diffst_cli.errors import UserError
from diffst_cli.ffmpeg import FfmpegProcess, ffmpeg_path
from diffst_cli.pixels import Image
from diffst_cli.probe import VideoInfo, probe
from diffst_cli.read_images import read_images
from diffst_cli.reader import FrameReader, read_frames
from tests import media


def decoders() -> list[psutil.Process]:
    """Our ffmpeg processes; others of ours, such as multiprocessing's, are not this test's."""
    own = str(ffmpeg_path())
    return [child for child in psutil.Process().children() if own in child.cmdline()[:1]]


def num_children() -> int:
    return len(decoders())


def test_stopping_early_ends_ffmpeg(tmp_path):
    info = probe(media.make_video(tmp_path / "a.mp4", size=(640, 360), num_frames=60))
    with read_frames(info) as reader:
        next(reader)
        assert num_children() == 1
    assert num_children() == 0
    assert list(reader) == []


def test_an_exception_ends_ffmpeg(tmp_path):
    info = probe(media.make_video(tmp_path / "a.mp4", size=(640, 360), num_frames=60))

    def stumble() -> None:
        with read_frames(info) as reader:
            next(reader)
            raise RuntimeError("ours")

    with pytest.raises(RuntimeError, match="ours"):
        stumble()
    assert num_children() == 0


def test_a_forgotten_reader_ends_ffmpeg(tmp_path):
    info = probe(media.make_video(tmp_path / "a.mp4", size=(640, 360), num_frames=60))
    reader = read_frames(info)
    next(reader)
    del reader
    gc.collect()
    assert num_children() == 0


def test_closing_from_another_thread_ends_the_iteration(tmp_path):
    info = probe(media.make_video(tmp_path / "a.mp4", size=(640, 360), num_frames=60))
    reader = FrameReader(info)
    done = threading.Event()

    def slowly() -> None:
        for _ in reader:
            time.sleep(0.05)
        done.set()

    thread = threading.Thread(target=slowly)
    thread.start()
    time.sleep(0.3)
    reader.close()
    assert done.wait(10)
    thread.join()
    assert reader.report.num_frames < 60
    assert num_children() == 0


def test_closing_from_another_thread_ends_a_picture_sequence(tmp_path, monkeypatch):
    info = probe(media.make_png_folder(tmp_path / "frames", num_images=9))
    reader = FrameReader(info)
    inside, closed = threading.Event(), threading.Event()
    given = []

    def halting(info: VideoInfo) -> Iterator[Image]:
        for picture in read_images(info):
            inside.set()
            closed.wait(10)
            given.append(picture)
            yield picture

    monkeypatch.setattr("diffst_cli.reader.read_images", halting)
    thread = threading.Thread(target=lambda: list(reader))
    thread.start()
    assert inside.wait(10)
    reader.close()
    closed.set()
    thread.join(10)
    assert not thread.is_alive()
    assert (len(given), reader.report.num_frames) == (1, 0)
    assert not reader.report.reached_end, "nor may it be taken for the video's end"


def test_reading_on_while_another_thread_closes_is_the_end(tmp_path, monkeypatch):
    reader = FrameReader(probe(media.make_video(tmp_path / "a.mp4", num_frames=5)))
    next(reader)
    closing, go_on = threading.Event(), threading.Event()
    real_stop = FfmpegProcess.stop

    def slow_stop(process: FfmpegProcess) -> None:
        closing.set()
        go_on.wait(10)
        real_stop(process)

    monkeypatch.setattr(FfmpegProcess, "stop", slow_stop)
    thread = threading.Thread(target=reader.close)
    thread.start()
    assert closing.wait(10)
    with pytest.raises(StopIteration):
        next(reader)
    go_on.set()
    thread.join()


def test_a_killed_ffmpeg_is_an_error_not_an_end(tmp_path):
    info = probe(media.make_video(tmp_path / "a.mp4", size=(640, 360), num_frames=60))
    reader = read_frames(info)
    next(reader)
    for child in decoders():
        child.kill()
    with pytest.raises(UserError, match="killed by signal 9"):
        list(reader)


def test_a_reader_left_open_when_python_exits_ends_quietly(tmp_path):
    """A pipe whose reading thread is frozen by Python's exit cannot be closed: Python aborts."""
    path = media.make_video(tmp_path / "long.mkv", size=(640, 360), num_frames=200)
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from diffst_cli.probe import probe\n"
        "from diffst_cli.reader import read_frames\n"
        "reader = read_frames(probe(Path(sys.argv[1])))\n"
        "next(reader)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("changes", "num_read", "start", "is_early"),
    [
        ({}, 20, None, True),
        ({}, 50, None, False),  # all frames came, so it is the header's length that is wrong
        ({"is_variable": True}, 20, None, False),  # whose frames are not counted
        ({"num_frames": None}, 20, None, False),
        ({}, 20, Fraction(1), False),  # of a part it is not known how many there should be
        ({"duration_seconds": Fraction(22, 25)}, 20, None, False),  # two frames are nothing
        ({"duration_seconds": None}, 20, None, False),
    ],
)
def test_a_file_has_ended_early_if_time_and_frames_are_missing(
    changes, num_read, start, is_early, tmp_path
):
    clip = probe(media.make_video(tmp_path / "a.mp4", num_frames=2))
    stated = {"start_seconds": Fraction(7), "duration_seconds": Fraction(2), "num_frames": 50}
    reader = FrameReader(replace(clip, **{**stated, **changes}), start=start)
    reader.report.num_frames = num_read
    reader._look_back(Fraction(7) + Fraction(19, 25))
    assert (reader.report.ended_early is not None) == is_early


@pytest.mark.parametrize(
    ("length", "hint"), [(None, None), (Fraction(2, 5), "the video is 0.40 s long")]
)
def test_a_length_that_is_not_known_is_not_told(length, hint, tmp_path):
    info = replace(probe(media.make_video(tmp_path / "a.mp4")), duration_seconds=length)
    with pytest.raises(UserError, match="no frame in the chosen part") as caught:
        list(read_frames(info, start=Fraction(5)))
    assert caught.value.hint == hint
