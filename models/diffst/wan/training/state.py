"""The state that a run goes on from: weights, their average, optimiser, counters; a folder, there as a whole or not."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from diffst.checkpoint import read_object
from diffst.training.saved import damaged, is_whole
from diffst.wan.training.export import Weights

COUNTERS = "run.json"
AVERAGE = "average.safetensors"
WEIGHTS = "model.safetensors"
"""accelerate's name."""
LAST = "last"
"""Model folder beside the state folder."""


@dataclass(frozen=True, kw_only=True)
class RunState:
    """What a state folder says of itself."""

    stage: int
    lora_rank: int
    step: int
    """Steps done."""
    seconds: float
    """They took."""


def read_state(folder: Path) -> RunState | None:
    """Where a run was left; None where there is nothing to go on from.

    Raises:
        ValueError: It is damaged.
    """
    file = folder / COUNTERS
    if not file.is_file():
        return None
    try:
        return RunState(**read_object(file))
    except (ValueError, TypeError) as error:  # TypeError: a counter is missing
        raise damaged(file, folder.parent / LAST) from error


def read_average(folder: Path) -> Weights:
    """The averaged weights of a state folder, those that learn.

    Raises:
        ValueError: They are damaged.
    """
    try:
        weights: Weights = load_file(folder / AVERAGE)
    except SafetensorError as error:
        raise damaged(folder / AVERAGE, folder.parent / LAST) from error
    return weights


def load_state(folder: Path, accelerator: Accelerator) -> None:
    """Put what accelerate saved in a state folder into what it prepared: weights and optimiser.

    Raises:
        ValueError: A file is damaged.
    """
    try:
        accelerator.load_state(str(folder))
    except Exception as error:  # of many kinds, for want of memory too
        for file in sorted(folder.glob("*.bin")):
            if not is_whole(file):
                raise damaged(file, folder.parent / LAST) from error
        if isinstance(error, SafetensorError):
            raise damaged(folder / WEIGHTS, folder.parent / LAST) from error
        raise


def write_state(folder: Path, state: RunState, average: Weights, accelerator: Accelerator) -> None:
    """Fill a folder; every process calls it, since each may hold a part."""
    if accelerator.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        save_file({key: value.contiguous() for key, value in average.items()}, folder / AVERAGE)
        (folder / COUNTERS).write_text(json.dumps(asdict(state)), encoding="utf-8")
    accelerator.wait_for_everyone()
    accelerator.save_state(str(folder))
    accelerator.wait_for_everyone()
