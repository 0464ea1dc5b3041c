"""Memory must not grow with the length of the video."""

import json
from pathlib import Path

import pytest

from tests.end_to_end.command import diffst
from tests.media import make_video

ALLOWED_GROWTH = 0.10  # of the shorter run's peak


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_minute_needs_no_more_memory_than_ten_seconds(tmp_path: Path):
    peaks = {}
    for seconds in (10, 60):
        make_video(tmp_path / f"{seconds}.mp4", num_frames=10 * seconds, rate="10")
        done = diffst(
            "upscale", f"{seconds}.mp4", f"{seconds}-out.mp4",
            "--fps-x", "2", "--receipt", f"{seconds}.json", folder=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        peaks[seconds] = json.loads((tmp_path / f"{seconds}.json").read_text())["peak_memory_bytes"]
    assert peaks[60] <= peaks[10] * (1 + ALLOWED_GROWTH), peaks
