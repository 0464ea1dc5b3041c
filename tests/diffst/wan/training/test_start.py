"""What a run needs before its first step, and what is said where it is missing."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from accelerate.utils import DistributedType

from diffst.wan.training import start


def test_a_gpu_that_is_not_there_is_told(config, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="has no CUDA device"):
        start.new_accelerator(dataclasses.replace(config, device="cuda"))


def test_deepspeed_is_refused_with_the_reason(config, monkeypatch):
    made = SimpleNamespace(distributed_type=DistributedType.DEEPSPEED)
    monkeypatch.setattr(start, "Accelerator", lambda **_: made)
    with pytest.raises(ValueError, match="in which their average stands still; launch with FSDP"):
        start.new_accelerator(config)


def test_only_losses_with_a_weight_open_their_networks(config, monkeypatch):
    opened = []
    monkeypatch.setattr(start, "open_perceptual", lambda name, _: opened.append(name))
    run = dataclasses.replace(
        config, stage=2, weights={"dists": 0.5, "lpips": 0.0, "frequency": 0.1}
    )
    assert set(start.wanted_options(run, torch.device("cpu"))) == {"dists", "frequency"}
    assert opened == ["dists"]
    assert start.wanted_options(dataclasses.replace(config, stage=2), torch.device("cpu")) == {}
