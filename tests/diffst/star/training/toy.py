"""A STAR with two levels of one block each, random weights, and a clip of noise for it to learn."""

import dataclasses
from pathlib import Path

import pytest

from diffst.star import build
from diffst.star.training.config import StarTrainConfig
from tests.diffst.training.test_dataset import write_clip


def toy_config(folder: Path, **values) -> StarTrainConfig:
    """A run in a folder: a model to start from, prepared clips, and what is quick on a CPU."""
    tiny = build.SIZES["tiny"]
    small = {**tiny.unet, "multiples": (1, 2), "blocks_per_level": 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(build.SIZES, "toy", dataclasses.replace(tiny, unet=small))
        build.save_random(folder / "start", "toy")
    write_clip(folder / "clips", "a", size=(32, 32))
    usual = {
        "data": folder / "clips",
        "out": folder / "out",
        "start_from": folder / "start",
        "steps": 4,
        "frames": 2,
        "crop": 32,
        "batch_clips": 1,
        "decoded_frames": 1,
        "learning_rate": 3e-3,
        "device": "cpu",
        "bfloat16": False,
        "save_steps": 2,
        "log_steps": 1,
    }
    return StarTrainConfig(**{**usual, **values})
