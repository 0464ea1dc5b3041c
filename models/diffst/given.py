"""What pipelines are given, checked in one place."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from diffst.cfca import Instants, check_instants
from diffst.pixels import HIGHEST


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


def check_asked(instants: Instants, num_frames: int) -> None:
    """Raise ValueError for no instants, and for one that the clip's keyframes cannot give."""
    if not instants:
        raise ValueError("no instants are asked for")
    check_instants(instants, num_frames)


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
