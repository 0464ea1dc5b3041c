"""Which windows a step has, and who takes them."""

import dataclasses
from itertools import islice
from pathlib import Path

import pytest
import torch

from diffst.wan.training.config import WanTrainConfig
from diffst.wan.training.data import open_data
from tests.diffst.training.test_dataset import write_clip


@pytest.fixture
def config(tmp_path) -> WanTrainConfig:
    write_clip(tmp_path, "a", size=(24, 24), num_keyframes=12)
    return WanTrainConfig(
        data=tmp_path,
        out=Path("unused"),
        start_from=Path("unused"),
        stage=1,
        steps=1,
        frames=5,
        crop=8,
        batch_windows=2,
    )


def keyframes(config, first_step, process=0, num_processes=1, steps=3):
    batches = open_data(config, config.data).batches(
        first_step=first_step, process=process, num_processes=num_processes
    )
    return torch.stack([batch.keyframes for batch in islice(batches, steps)])


def test_a_run_that_goes_on_sees_what_it_would_have_seen(config):
    assert torch.equal(keyframes(config, 0)[2], keyframes(config, 2, steps=1)[0])


def test_seed_step_and_place_choose_the_window(config):
    seen = keyframes(config, 0)
    assert torch.equal(seen, keyframes(config, 0))
    windows = [*seen.flatten(0, 1), keyframes(dataclasses.replace(config, seed=1), 0)[0, 0]]
    for number, window in enumerate(windows):
        assert not any(torch.equal(window, other) for other in windows[:number])


def test_processes_share_the_batch_that_one_would_take(config):
    whole = keyframes(dataclasses.replace(config, batch_windows=4), 5)
    shares = [keyframes(config, 5, process, 2) for process in range(2)]
    assert torch.equal(torch.cat(shares, dim=1), whole)
