"""An hour of video: memory stays flat, and no frame is lost."""

import json
import time
from pathlib import Path

import pytest

from diffst_cli.memory import tree_bytes
from tests.end_to_end.command import names, start
from tests.media import FAST_X264, pattern, run_ffmpeg

SECONDS = 3600
SIZE = (32, 24)
SAMPLE_SECONDS = 0.5
ALLOWED_GROWTH = 1.05  # of the last quarter over the second; the first is still loading


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_an_hour_takes_no_more_memory_than_its_first_half(tmp_path: Path):
    minute = tmp_path / "minute.mp4"
    run_ffmpeg(*pattern(SIZE, 60, "1"), *FAST_X264, minute)
    run_ffmpeg(
        "-stream_loop", str(SECONDS // 60 - 1), "-i", minute, "-c", "copy", tmp_path / "in.mp4"
    )
    minute.unlink()
    taken: list[int] = []
    line = ("upscale", "in.mp4", "out.mp4", "--scale", "2", "--fps-x", "2", "--quiet")
    with start(*line, "--receipt", "r.json", folder=tmp_path) as process:
        while process.poll() is None:
            taken.append(tree_bytes(process.pid))
            time.sleep(SAMPLE_SECONDS)
        assert process.returncode == 0, process.stderr and process.stderr.read()
    receipt = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert receipt["ok"]
    assert (receipt["frames_in"], receipt["frames_out"]) == (SECONDS, 2 * SECONDS)
    actual = {check["name"]: check["actual"] for check in receipt["checks"]}
    assert (actual["frames"], actual["duration"]) == (str(2 * SECONDS), f"{SECONDS}.000 s")
    assert names(tmp_path) == {"in.mp4", "out.mp4", "r.json"}
    quarter = len(taken) // 4
    second, last = max(taken[quarter : 2 * quarter]), max(taken[3 * quarter : -1])
    assert last <= ALLOWED_GROWTH * second, (second, last)
