"""Whole-number pixels to floats and back.

Pictures that are given out pass `in_range`: floats are clamped, whole numbers rounded.
"""

from __future__ import annotations

import torch
from torch import Tensor

HIGHEST = {torch.uint8: 255, torch.uint16: 65535}


def to_float(frames: Tensor) -> Tensor:
    """Frames of uint8 or uint16, full range, as float32 in [0, 1].

    Raises:
        ValueError: Another type.
    """
    if frames.dtype not in HIGHEST:
        raise ValueError(f"frames are uint8 or uint16, not {frames.dtype}")
    return frames.to(torch.float32) / HIGHEST[frames.dtype]


def to_integer(frames: Tensor, dtype: torch.dtype) -> Tensor:
    """Float frames, clamped to [0, 1], as the nearest code of uint8 or uint16.

    Raises:
        ValueError: Another type is asked for.
    """
    return to_integer_(frames.to(torch.float32, copy=True), dtype)


def to_integer_(frames: Tensor, dtype: torch.dtype) -> Tensor:
    """As `to_integer`, in the memory of the float32 frames, which are used up; for large ones twice as fast."""
    if dtype not in HIGHEST:
        raise ValueError(f"frames become uint8 or uint16, not {dtype}")
    return frames.clamp_(0, 1).mul_(HIGHEST[dtype]).round_().to(dtype)


def in_range(pictures: Tensor, dtype: torch.dtype) -> Tensor:
    """Finished float pictures as what is asked for: floats in [0, 1], or the nearest codes of uint8 or uint16."""
    return pictures.clamp(0, 1) if dtype.is_floating_point else to_integer(pictures, dtype)


def as_float(frames: Tensor) -> Tensor:
    """Frames as float in [0, 1]; those that are, as they are."""
    return frames.float() if frames.is_floating_point() else to_float(frames)
