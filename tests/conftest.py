"""What every test shares: a missing GPU is a skip, or a failure where one is required."""

import os

import pytest


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") is None:
        return
    import torch

    if torch.cuda.is_available():
        return
    if os.environ.get("DIFFST_REQUIRE_GPU") == "1":
        pytest.fail("DIFFST_REQUIRE_GPU=1 but torch finds no CUDA device")
    pytest.skip("needs a CUDA device")
