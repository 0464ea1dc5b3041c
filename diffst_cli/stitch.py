"""Clips become one video again: crossfaded where they overlap, every output frame once, in order."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from diffst_cli.clips import Clip

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class OutputFrame:
    """A finished picture and when it is shown."""

    image: Tensor
    """(3, H, W) RGB, uint8 or uint16."""
    time: Fraction
    """Seconds, on the input's time line."""


def fade_weights(num_moments: int) -> list[float]:
    """Weights of the later clip over an overlap: a cosine taken at frame centres, never 0 or 1."""
    return [0.5 - 0.5 * math.cos(math.pi * (i + 0.5) / num_moments) for i in range(num_moments)]


def stitch(made: Iterable[tuple[Clip, Tensor]]) -> Iterator[OutputFrame]:
    """Output frames in order.

    Args:
        made: Clips in order, each with its moments' pictures, (N, 3, H, W), uint8 or uint16. Where
            they begin in the middle of a video, what the first shares with the one before it comes
            as the first alone makes it.

    Raises:
        ValueError: A model made another number of pictures than it was asked for, or two clips do
            not agree on what they share.
    """
    held: list[Tensor] = []  # the clip before's pictures of what both share
    for number, (clip, images) in enumerate(made):
        if len(images) != len(clip.moments):
            raise ValueError(f"the model made {len(images)} frames of {len(clip.moments)}")
        if number > 0 and len(held) != clip.shared_before:
            raise ValueError(
                f"{len(held)} frames held back, but the next clip shares {clip.shared_before}"
            )
        weights = fade_weights(len(held))
        stop = len(images) - clip.shared_after
        for i, moment in enumerate(clip.moments[:stop]):
            image = blend(held[i], images[i], weights[i]) if i < len(held) else images[i]
            for time in moment.times:
                yield OutputFrame(image=image, time=time)
        held = list(images[stop:].unbind())
    if held:
        raise ValueError(f"{len(held)} frames held back for a clip that never came")


def blend(before: Tensor, after: Tensor, weight: float) -> Tensor:
    """Two pictures mixed, `weight` of the second, in float and rounded once; uint8 or uint16 as given."""
    import torch

    from diffst.pixels import to_float, to_integer

    return to_integer(torch.lerp(to_float(before), to_float(after), weight), before.dtype)
