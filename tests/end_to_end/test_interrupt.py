"""Ctrl-C, SIGTERM and SIGHUP: exit code 130, no file, no ffmpeg, no traceback."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.end_to_end.command import names, start
from tests.media import make_video

PATIENCE_SECONDS = 120
SOURCE = "long.mp4"


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def children(process: subprocess.Popen[str]) -> list[psutil.Process]:
    try:
        return list(psutil.Process(process.pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def is_writing(process: subprocess.Popen[str], folder: Path) -> bool:
    """The encoder runs and its temporary file is there: the model is being loaded, or works already."""
    return len(names(folder)) > 1 and len(children(process)) >= 1


def is_upscaling(process: subprocess.Popen[str], _folder: Path) -> bool:
    """Decoder and encoder both run."""
    return len(children(process)) >= 2


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGINT, is_writing),
        pytest.param(signal.SIGINT, is_upscaling, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, is_upscaling, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, is_upscaling, marks=pytest.mark.slow),
    ],
)
def test_an_interrupt_leaves_nothing(
    number: signal.Signals, moment: Callable[[subprocess.Popen[str], Path], bool], tmp_path: Path
):
    make_video(tmp_path / SOURCE, num_frames=250)
    with start("upscale", SOURCE, "out.mp4", "--fps-x", "8", folder=tmp_path) as process:
        wait_until(lambda: moment(process, tmp_path), process)
        time.sleep(0.5)
        running = children(process)
        assert running
        process.send_signal(number)
        _, told = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130
    assert told.splitlines()[-1] == "error: interrupted"
    assert "Traceback" not in told
    assert names(tmp_path) == {SOURCE}
    _, alive = psutil.wait_procs(running, timeout=5)
    assert alive == []


def test_an_interrupt_while_the_program_starts_just_ends_it():
    program = (
        "import os, signal, sys, types\n"
        "starting = types.ModuleType('diffst_cli.app')\n"
        "starting.main = lambda: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.modules['diffst_cli.app'] = starting\n"
        "from diffst_cli.__main__ import main\n"
        "main()\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")
