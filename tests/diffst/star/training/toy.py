"""Both kinds of STAR at their smallest, of random weights, and a clip of noise for them to learn."""

from pathlib import Path
from typing import Any

from diffst.star.training.config import CogVideoXTrainConfig, UNetTrainConfig
from tests.diffst.star.random_star import save_random
from tests.diffst.star.tiny_cogvideox import tiny_pipeline
from tests.diffst.training.test_dataset import write_clip


def toy_config(folder: Path, **values) -> UNetTrainConfig:
    """A run in a folder: a model to start from, of two levels of one block each, and prepared clips."""
    save_random(folder / "start", multiples=(1, 2), blocks_per_level=1)
    usual = {**prepared(folder), "frames": 2, "crop": 32, "decoded_frames": 1}
    return UNetTrainConfig(**{**usual, **values})


def toy_cogvideox_config(folder: Path, **values) -> CogVideoXTrainConfig:
    """A run of the other kind, of its gates alone."""
    tiny_pipeline(spread=0.4).save_pretrained(folder / "start")
    usual = {**prepared(folder), "parts": "local", "frames": 9, "crop": 12, "lora_rank": 2}
    return CogVideoXTrainConfig(**{**usual, **values})


def prepared(folder: Path) -> dict[str, Any]:
    """What both kinds are told alike: folders, and what is quick on a CPU."""
    write_clip(folder / "clips", "a", num_keyframes=13, size=(32, 32))
    return {
        "data": folder / "clips",
        "out": folder / "out",
        "start_from": folder / "start",
        "steps": 4,
        "batch_clips": 1,
        "learning_rate": 3e-3,
        "device": "cpu",
        "bfloat16": False,
        "save_steps": 2,
        "log_steps": 1,
    }
