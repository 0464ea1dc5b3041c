"""The state that a run goes on from: weights, their average, optimiser, counters; a folder, there as a whole or not."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from accelerate import Accelerator
from safetensors.torch import load_file, save_file

from diffst.wan.training.export import Weights

COUNTERS = "run.json"
AVERAGE = "average.safetensors"


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
    """Where a run was left; None where there is nothing to go on from."""
    file = folder / COUNTERS
    return RunState(**json.loads(file.read_text())) if file.is_file() else None


def read_average(folder: Path) -> Weights:
    """The averaged weights of a state folder, those that learn."""
    weights: Weights = load_file(folder / AVERAGE)
    return weights


def write_state(folder: Path, state: RunState, average: Weights, accelerator: Accelerator) -> None:
    """Fill a folder; every process calls it, since each may hold a part."""
    if accelerator.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        save_file({key: value.contiguous() for key, value in average.items()}, folder / AVERAGE)
        (folder / COUNTERS).write_text(json.dumps(asdict(state)))
    accelerator.wait_for_everyone()
    accelerator.save_state(str(folder))
    accelerator.wait_for_everyone()
