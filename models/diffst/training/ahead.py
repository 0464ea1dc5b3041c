"""Batches without end, each known by the number of its step, and made ahead by other processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from multiprocessing import get_context
from typing import Any, Generic, TypeVar

import cv2
from torch.utils.data import DataLoader, Dataset

STEPS_AHEAD = 2  # made by each process before they are asked for

Batch = TypeVar("Batch")


def made_ahead(
    make: Callable[[int], Batch], *, first_step: int, num_workers: int
) -> Iterator[Batch]:
    """What `make` gives for `first_step`, `first_step` + 1, ..., the same for any number of processes.

    Args:
        make: Gives a step's batch; can be pickled.
        first_step: The first number that it is asked for.
        num_workers: Processes that make batches ahead; 0 makes them when they are asked for.

    Raises: what `make` raises, when its batch is asked for.
    """
    if not num_workers:
        return map(make, count(first_step))
    loader: DataLoader[Batch | Exception] = DataLoader(
        _Steps(make),
        batch_size=None,
        sampler=count(first_step),
        num_workers=num_workers,
        prefetch_factor=STEPS_AHEAD,
        collate_fn=_as_it_is,
        # A fork would copy locks that torch's threads may hold. What is spawned takes its interpreter down at its end,
        # which aborts it where the thread that hands a batch over is inside torch then.
        multiprocessing_context=get_context("forkserver"),
    )
    return map(_raised, loader)


class _Steps(Dataset["Batch | Exception"], Generic[Batch]):
    """Batches by the step's number; an error is given, not raised, to stay as it is."""

    def __init__(self, make: Callable[[int], Batch]) -> None:
        self.make = make

    def __getitem__(self, step: int) -> Batch | Exception:
        cv2.setNumThreads(1)
        try:
            return self.make(step)
        except Exception as error:  # handed to the process that trains
            return error


def _raised(made: Batch | Exception) -> Batch:
    if isinstance(made, Exception):
        raise made
    return made


def _as_it_is(batch: Any) -> Any:
    return batch  # nothing to convert
