"""Noise that belongs to a frame: the same whatever clip the frame is in, on every device."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

Position = tuple[int, float]
"""A keyframe's number in the whole video, and how far towards the next, in [0, 1)."""


def frame_noise(seed: int, position: Position, purpose: str, shape: tuple[int, ...]) -> Tensor:
    """Unit Gaussian noise of one frame, float32 on the CPU.

    Args:
        seed: Of the run.
        position: Of the frame.
        purpose: What it is for; another word gives other noise.
        shape: Of the result.
    """
    keyframe, alpha = position
    name = f"{seed} {keyframe} {alpha!r} {purpose}".encode()
    number = int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little", signed=True)
    generator = torch.Generator().manual_seed(number)
    return torch.randn(shape, generator=generator, dtype=torch.float32)


def clip_noise(
    seed: int, positions: Sequence[Position], purpose: str, shape: tuple[int, int, int]
) -> Tensor:
    """Unit Gaussian noise of a clip's frames.

    Args:
        seed: Of the run.
        positions: Of the F frames.
        purpose: What it is for.
        shape: Channels, rows and columns of one frame.

    Returns:
        (1, C, F, h, w) float32 on the CPU.
    """
    frames = [frame_noise(seed, position, purpose, shape) for position in positions]
    return torch.stack(frames, dim=1).unsqueeze(0)
