"""`diffst preview` and `diffst compare` as a user runs them, on the sample clip, with the real model."""

import re
from pathlib import Path

import pytest

from diffst_cli.probe import probe
from tests.end_to_end.command import diffst, names

SAMPLE = Path(__file__).parents[2] / "examples" / "bee.mp4"

pytestmark = pytest.mark.slow


def test_preview_then_page_of_the_sample(tmp_path: Path):
    part = ("--duration", "0.5", "--scale", "2", "--fps-x", "2")
    done = diffst("preview", SAMPLE, *part, "-o", "p.mp4", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    info = probe(tmp_path / "p.mp4")
    assert (info.width, info.height) == (2 * 640 + 4, 360 + 84)
    assert float(info.frame_rate) == pytest.approx(29.97, abs=0.01)
    done = diffst("upscale", SAMPLE, "big.mp4", *part, "-q", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    done = diffst("compare", SAMPLE, "big.mp4", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    told = re.search(r"big\.mp4 against bee\.mp4: PSNR (\d+)\.\d+ dB", done.stderr)
    assert told is not None
    assert 30 <= int(told[1]) < 50  # a still is what it was, sharper
    assert names(tmp_path) == {"p.mp4", "big.mp4", "report.html"}
