"""The training windows of each step, and which of them a process takes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Protocol

import numpy as np

from diffst.training.dataset import WindowDataset
from diffst.training.windows import Batch, stack_windows
from diffst.wan.training.clips import ClipBatch, ClipWindows
from diffst.wan.training.config import WanTrainConfig
from diffst.wan.training.manifest import read_manifest


class StepData(Protocol):
    """Where the windows come from.

    A step has `batch_windows * num_processes` windows. Window i of step s follows from the seed, s and i alone, so a
    run that is resumed sees what it would have seen, and several processes see what one with all of them sees.
    """

    left_out: list[str]
    """In a sentence for each kind of clip: how many are used, where not all are."""

    def batches(
        self, *, first_step: int, process: int, num_processes: int
    ) -> Iterator[Batch | ClipBatch]:
        """The share of process number `process`, of steps `first_step`, `first_step` + 1, ... without end."""
        ...


class PreparedWindows:
    """Windows of the clips that `diffst.training.prepare` wrote."""

    def __init__(self, config: WanTrainConfig, folder: Path) -> None:
        """Find the clips.

        Raises:
            ValueError: None holds a window.
        """
        self.windows = WindowDataset(folder, lr_crop=config.crop, num_keyframes=config.keyframes)
        self.left_out = self.windows.left_out
        self.seed = config.seed
        self.batch_windows = config.batch_windows

    def batches(self, *, first_step: int, process: int, num_processes: int) -> Iterator[Batch]:
        """See `StepData`."""
        numbers = range(process * self.batch_windows, (process + 1) * self.batch_windows)
        assert process < num_processes
        # From 1 on: numpy takes (seed, step, 0) for (seed, step), which chooses the latents of stage 2.
        for step in count(first_step):
            yield stack_windows(
                [
                    self.windows.sample(np.random.default_rng((self.seed, step, number + 1)))
                    for number in numbers
                ]
            )


def open_data(config: WanTrainConfig, source: Path) -> StepData:
    """The windows of a list of clips or of a folder of prepared ones, to train or to validate with.

    Raises:
        ValueError: Nothing in it holds a window, or the list is broken.
    """
    if not source.is_file():
        return PreparedWindows(config, source)
    return ClipWindows(
        read_manifest(source),
        frames=config.frames,
        crop=config.crop,
        batch_windows=config.batch_windows,
        image_share=config.image_share,
        seed=config.seed,
        num_workers=config.data_workers,
    )
