"""What pipelines are given, checked in one place."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import SupportsFloat, SupportsIndex, cast

import torch
from torch import Tensor

from diffst.cfca import Instants, check_instants
from diffst.pixels import HIGHEST

Instant = tuple[int, float]


def frames_given(frames: Tensor) -> Tensor:
    """Frames in one of the three types that pipelines work on.

    Args:
        frames: (T, 3, H, W), any float type in [0, 1], uint8 or uint16.

    Returns:
        The same; floats of another type as float32.

    Raises:
        TypeError: They are no tensor.
        ValueError: They are of another type or shape, or none.
    """
    if not isinstance(frames, Tensor):
        raise TypeError(f"frames are a tensor of torch, not a `{type(frames).__name__}`")
    if frames.ndim != 4 or frames.shape[1] != 3 or 0 in frames.shape:
        raise ValueError(f"frames are (T, 3, H, W), at least one, not {tuple(frames.shape)}")
    if frames.is_floating_point():
        return frames.float()
    if frames.dtype not in HIGHEST:
        raise ValueError(f"frames are float in [0, 1], uint8 or uint16, not {frames.dtype}")
    return frames


def instants_given(instants: Iterable[tuple[int, float]], num_frames: int) -> list[Instant]:
    """Instants as a list of whole numbers and floats, whatever gave them, a generator too.

    Raises:
        ValueError: One is no such pair, or one that the clip's keyframes cannot give.
    """
    listed = [_instant(each) for each in instants]
    check_instants(listed, num_frames)
    return listed


def instants_asked(instants: Iterable[tuple[int, float]], num_frames: int) -> list[Instant]:
    """As `instants_given`, at least one.

    Raises:
        ValueError: As there; or there is none.
    """
    listed = instants_given(instants, num_frames)
    if not listed:
        raise ValueError("no instants are asked for")
    return listed


def _instant(given: object) -> Instant:
    try:
        n, alpha = cast("tuple[SupportsIndex, SupportsFloat]", given)
        return operator.index(n), float(alpha)
    except (TypeError, ValueError):
        raise ValueError(
            f"an instant is a keyframe's whole number and a share of the way to the next, not {given!r}"
        ) from None


def size_given(size: Sequence[int]) -> tuple[int, int]:
    """The height and width to make pictures in.

    Raises:
        ValueError: They are something else, or not above 0.
    """
    try:
        height, width = (operator.index(side) for side in size)
    except (TypeError, ValueError):
        height = width = 0
    if min(height, width) < 1:
        raise ValueError(f"a size is height and width, whole numbers above 0, not {size!r}")
    return height, width


def check_order(instants: Instants) -> None:
    """Raise ValueError for instants that go back in time, for models that see what they make as a video."""
    for before, after in pairwise(instants):
        if after < before:
            raise ValueError(
                f"instants are in order of time here, so {after} is not after {before}"
            )


def check_output_type(output_type: torch.dtype) -> None:
    """Raise ValueError for a type that no pipeline makes pictures in."""
    if output_type != torch.float32 and output_type not in HIGHEST:
        raise ValueError(f"pictures are made as float32, uint8 or uint16, not {output_type}")
