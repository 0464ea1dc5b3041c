"""Long clips and large pictures in pieces the network can hold, merged again at every step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise, product

import torch
from torch import Tensor

from diffst.fading import ramp

Window = tuple[int, int]
"""Half-open range of frames, rows or columns."""

LAST_WINDOW_STRETCH = 1.25  # the last window of a clip may be this much longer than the others
HEIGHT_REMAINDER = 2  # of a latent's rows divided by 8
TILE_OVERLAP = 8  # latent rows or columns that neighbouring tiles share, at least


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """Windows along one side, and what each counts at each place; all weights of a place sum to 1."""

    windows: list[Window]
    weights: list[Tensor]
    """One (stop - start,) float32 a window."""


def frame_windows(num_frames: int, most: int) -> list[Window]:
    """Windows of `most` frames, half of them shared; the last may hold a quarter more.

    Raises:
        ValueError: A window would hold nothing.
    """
    if most < 1:
        raise ValueError(f"windows of {most} frames")
    stride = most - most // 2
    longest = LAST_WINDOW_STRETCH * most
    windows: list[Window] = []
    start = 0
    while num_frames > start + longest:
        windows.append((start, start + most))
        start += stride
    return [*windows, (start, num_frames)]


def tile_windows(side: int, most: int, remainder: int = 0) -> list[Window]:
    """Equal windows along a side, evenly spread, each as long as the network takes.

    Args:
        side: Latent rows or columns.
        most: In one window, at most.
        remainder: Of each window's length divided by 8.

    Raises:
        ValueError: A window could not hold the overlap and more.
    """
    if side <= most:
        return [(0, side)]
    length = (most - remainder) // 8 * 8 + remainder
    if length <= 2 * TILE_OVERLAP:
        raise ValueError(f"tiles of {most} are too small: {2 * TILE_OVERLAP + 8} and more work")
    count = math.ceil((side - TILE_OVERLAP) / (length - TILE_OVERLAP))
    starts = [round(k * (side - length) / (count - 1)) for k in range(count)]
    return [(start, start + length) for start in starts]


def scaled_windows(windows: list[Window], factor: int) -> list[Window]:
    """The same ranges where every place is `factor` places."""
    return [(start * factor, stop * factor) for start, stop in windows]


def cut_pieces(windows: list[Window]) -> Pieces:
    """Each window counts alone up to the middle of what it shares, as the reference merges."""
    middles = [(later[0] + (earlier[1] - later[0]) // 2) for earlier, later in pairwise(windows)]
    edges = [0, *middles, windows[-1][1]]
    weights = []
    for (start, stop), kept in zip(windows, pairwise(edges), strict=True):
        places = torch.arange(start, stop)
        weights.append(((places >= kept[0]) & (places < kept[1])).float())
    return Pieces(windows=windows, weights=weights)


def faded_pieces(windows: list[Window]) -> Pieces:
    """Neighbours fade into each other along a cosine over all they share."""
    raw = [torch.ones(stop - start, dtype=torch.float32) for start, stop in windows]
    for number, (earlier, later) in enumerate(pairwise(windows)):
        shared = earlier[1] - later[0]
        rise = ramp(shared)
        raw[number][len(raw[number]) - shared :] *= rise.flip(0)
        raw[number + 1][:shared] *= rise
    total = torch.zeros(windows[-1][1], dtype=torch.float32)
    for (start, stop), weight in zip(windows, raw, strict=True):
        total[start:stop] += weight
    weights = [
        weight / total[start:stop] for (start, stop), weight in zip(windows, raw, strict=True)
    ]
    return Pieces(windows=windows, weights=weights)


def num_pieces(sides: tuple[Pieces, Pieces, Pieces]) -> int:
    """How often `in_pieces` runs."""
    return math.prod(len(side.windows) for side in sides)


def in_pieces(
    run: Callable[[tuple[slice, slice, slice]], Tensor],
    like: Tensor,
    sides: tuple[Pieces, Pieces, Pieces],
) -> Tensor:
    """Results of all pieces, weighed together.

    Args:
        run: Frames, rows, columns -> (B, C, those).
        like: (B, C, F, h, w), the whole's shape and type.
        sides: Along frames, rows, columns.

    Returns:
        The shape of `like`.
    """
    if all(len(side.windows) == 1 for side in sides):
        frames, rows, columns = (slice(*side.windows[0]) for side in sides)
        return run((frames, rows, columns))
    merged = torch.zeros_like(like)
    numbers = product(*(range(len(side.windows)) for side in sides))
    for chosen in numbers:
        frames, rows, columns = (
            slice(*side.windows[n]) for side, n in zip(sides, chosen, strict=True)
        )
        time, height, width = (
            side.weights[n].to(like) for side, n in zip(sides, chosen, strict=True)
        )
        weight = time[:, None, None] * height[None, :, None] * width
        merged[:, :, frames, rows, columns] += weight * run((frames, rows, columns))
    return merged
