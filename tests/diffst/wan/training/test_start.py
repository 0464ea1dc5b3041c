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


def test_the_first_version_of_fsdp_is_refused_with_the_way_out(config, monkeypatch):
    made = SimpleNamespace(distributed_type=DistributedType.FSDP, is_fsdp2=False)
    monkeypatch.setattr(start, "Accelerator", lambda **_: made)
    with pytest.raises(ValueError, match="put `fsdp_version: 2` into accelerate's file"):
        start.new_accelerator(config)


def test_deepspeed_is_told_what_the_run_says(config):
    settings = {"zero_optimization": {"stage": 2}, "bf16": {"enabled": "auto"}}
    run = dataclasses.replace(config, batch_windows=3, gradient_accumulation=5)
    start.prepare_deepspeed(settings, run)
    assert settings == {
        "zero_optimization": {"stage": 2},
        "bf16": {"enabled": "auto"},
        "train_micro_batch_size_per_gpu": 3,
        "gradient_accumulation_steps": 5,
        "gradient_clipping": 0.1,
    }


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"zero_optimization": {"stage": 3}}, "put `zero_stage: 2` into accelerate's file"),
        ({"bf16": {"enabled": True}}, "in which their average stands still"),
        ({"fp16": {"enabled": True}}, "in which their average stands still"),
    ],
)
def test_deepspeed_that_would_break_the_average_is_refused(config, settings, said):
    with pytest.raises(ValueError, match=said):
        start.prepare_deepspeed(settings, config)


def test_only_losses_with_a_weight_open_their_networks(config, monkeypatch):
    opened = []
    monkeypatch.setattr(start, "open_perceptual", lambda name, _: opened.append(name))
    run = dataclasses.replace(
        config, stage=2, weights={"dists": 0.5, "lpips": 0.0, "frequency": 0.1}
    )
    assert set(start.wanted_options(run, torch.device("cpu"))) == {"dists", "frequency"}
    assert opened == ["dists"]
    assert start.wanted_options(dataclasses.replace(config, stage=2), torch.device("cpu")) == {}
