"""What every test shares: the bundled ffmpeg, GPU rules, no deadlines."""

import os
import signal

import imageio_ffmpeg
import pytest
from hypothesis import settings

# The same ffmpeg on every machine; what a system's own does is up to its version.
os.environ.setdefault("DIFFST_FFMPEG", imageio_ffmpeg.get_ffmpeg_exe())

# How long one example takes depends on what else the machine does.
settings.register_profile("diffst", deadline=None)
settings.load_profile("diffst")

# Where the suite itself runs in the background, Ctrl-C is ignored, and children would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") is None:
        return
    import torch

    if torch.cuda.is_available():
        return
    if os.environ.get("DIFFST_REQUIRE_GPU") == "1":
        pytest.fail("DIFFST_REQUIRE_GPU=1 but torch finds no CUDA device")
    pytest.skip("needs a CUDA device")
