"""What every test shares: the bundled ffmpeg, one thread, GPU rules, no deadlines."""

import os
import signal
import sys
from collections.abc import Iterator

import imageio_ffmpeg
import pytest
from hypothesis import settings

# The same ffmpeg on every machine; what a system's own does is up to its version.
os.environ.setdefault("DIFFST_FFMPEG", imageio_ffmpeg.get_ffmpeg_exe())

# What tests compute is too small to share: threads that wait for each other take the processors
# from whatever else runs, and tests take many times as long. For torch imported later, and for children.
os.environ["OMP_NUM_THREADS"] = "1"

# How long one example takes depends on what else the machine does.
settings.register_profile("diffst", deadline=None)
settings.load_profile("diffst")

# Where the suite itself runs in the background, Ctrl-C is ignored, and children would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """One thread of torch's, also after a test that set another number, as training does."""
    yield
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(1)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") is None:
        return
    import torch

    if torch.cuda.is_available():
        return
    if os.environ.get("DIFFST_REQUIRE_GPU") == "1":
        pytest.fail("DIFFST_REQUIRE_GPU=1 but torch finds no CUDA device")
    pytest.skip("needs a CUDA device")
