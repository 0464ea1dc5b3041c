"""kill -9 at any moment, and the same command again: the file of an undisturbed run, bit for bit."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from diffst_cli import planner, segments
from diffst_cli.app import main
from tests.end_to_end.command import TIMEOUT_SECONDS, environment, names
from tests.media import FAST_X264, pattern, run_ffmpeg, tone

# The real command, with segments of about 5 keyframes and a clip length to match.
PROGRAM = (
    "import sys\n"
    "from diffst_cli import planner, segments\n"
    "segments.MIN_KEYFRAMES, segments.MAX_KEYFRAMES = 3, 5\n"
    "planner.MAX_CLIP_PIXELS = 4 * 48 * 32\n"
    "from diffst_cli.app import main\n"
    "sys.exit(main())\n"
)
NUM_PIECES = 7  # at least, of 40 keyframes
LINE = ("upscale", "in.mp4", "out.mp4", "--scale", "2", "--fps-x", "2", "--overwrite")


def start(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *LINE],
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def finish(folder: Path) -> str:
    with start(folder) as process:
        _, told = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 0, told.decode()
    return told.decode()


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.timeout(3600)
def test_a_run_that_is_killed_again_and_again_ends_the_same(
    kills: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run_ffmpeg(
        *pattern((48, 32), 40, "25"), *tone(440, 1.6), *FAST_X264, "-c:a", "aac", tmp_path / "in.mp4"
    )  # fmt: skip
    with monkeypatch.context() as patch:  # as PROGRAM does
        patch.setattr(segments, "MIN_KEYFRAMES", 3)
        patch.setattr(segments, "MAX_KEYFRAMES", 5)
        patch.setattr(planner, "MAX_CLIP_PIXELS", 4 * 48 * 32)
        patch.chdir(tmp_path)
        assert main(LINE) == 0
    expected = (tmp_path / "out.mp4").read_bytes()
    (tmp_path / "out.mp4").unlink()

    chance = random.Random(kills)
    for number in range(1, kills + 1):
        with start(tmp_path) as process:
            wait_for_pieces(tmp_path, NUM_PIECES * number // (kills + 1), process)
            time.sleep(chance.uniform(0, 1.5))
            process.kill()
        damage(pieces(tmp_path), chance)
    finish(tmp_path)
    assert (tmp_path / "out.mp4").read_bytes() == expected
    assert names(tmp_path) == {"in.mp4", "out.mp4"}


def pieces(folder: Path, suffix: str = "mp4") -> list[Path]:
    def age(path: Path) -> float:
        return path.stat().st_mtime if path.exists() else 0.0  # a run that ended removes its own

    return sorted(folder.glob(f".out.diffst-*/0*.{suffix}"), key=age)


def wait_for_pieces(
    folder: Path, count: int, process: subprocess.Popen[bytes], suffix: str = "mp4"
) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while len(pieces(folder, suffix)) < count and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def damage(found: list[Path], chance: random.Random) -> None:
    """Cuts the newest piece short, as a power cut might, every other time."""
    if found and chance.random() < 0.5:
        os.truncate(found[-1], found[-1].stat().st_size // 2)
