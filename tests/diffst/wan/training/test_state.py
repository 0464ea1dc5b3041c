"""A state that a run is to go on from, and that is damaged."""

import dataclasses
import re

import pytest
import torch

from diffst.wan.training import loop

FILES = ("average.safetensors", "model.safetensors", "optimizer.bin", "run.json")


def test_a_damaged_file_is_named_with_what_to_do(config):
    loop.train(dataclasses.replace(config, stage=0, steps=1))
    again = dataclasses.replace(config, stage=0, steps=2)
    for name in FILES:
        file = config.out / "state" / name
        whole = file.read_bytes()
        file.write_bytes(whole[: min(1000, len(whole) // 2)])
        sentence = f"`{file}` is damaged; to go on from its weights put `{config.out}/last` in"
        with pytest.raises(ValueError, match=re.escape(sentence)):
            loop.WanTrainer(again, lambda _: None)
        file.write_bytes(whole)
    assert loop.WanTrainer(again, lambda _: None).step_number == 1


def test_an_error_of_a_state_that_is_whole_stays_what_it_is(config, monkeypatch):
    loop.train(dataclasses.replace(config, stage=0, steps=1))

    def fail(*_arguments, **_options):
        raise torch.OutOfMemoryError("tried to allocate 20 GiB")

    monkeypatch.setattr("accelerate.accelerator.Accelerator.load_state", fail)
    with pytest.raises(torch.OutOfMemoryError):
        loop.WanTrainer(dataclasses.replace(config, stage=0), lambda _: None)
