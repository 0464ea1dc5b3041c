"""Windows over latents, in time and in space, so that attention's cost and memory stay bounded.

Neighbouring windows share latents; there the result moves from one to the other by `ramp`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from diffst.fading import ramp
from diffst.wan.sizes import PATCH, even_side

OVERLAP_LATENTS = 2  # 8 frames

Step = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Windows:
    """How latents are cut for the transformer.

    Raises:
        ValueError: Windows do not get further than their overlap.
    """

    latents: int = 9
    """In time; 9 hold 33 frames."""
    overlap_latents: int = OVERLAP_LATENTS
    """Shared by neighbours in time."""
    tokens: tuple[int, int] = (68, 120)
    """High and wide, at most; as many as 1920 x 1088 pixels have."""
    overlap_tokens: int = 12
    """Shared by neighbours in space: 192 pixels."""

    def __post_init__(self) -> None:
        if not (
            0 <= self.overlap_latents < self.latents and 0 <= self.overlap_tokens < min(self.tokens)
        ):
            raise ValueError(f"windows must be longer than their overlap: {self}")


class WindowedStep:
    """Takes the step on latents that arrive in pieces of any length, in overlapping windows of time.

    The windows lie on a grid from the first latent on, so the result does not depend on the pieces. The last window is
    moved back until it is full; what was given out before is not changed by it.

    Args:
        step: (T, C, h, w) -> the same shape, for T up to `length`.
        length: Latents in a window.
        overlap: Latents that neighbours share.
    """

    def __init__(self, step: Step, length: int, overlap: int) -> None:
        self.step = step
        self.length = length
        self.overlap = overlap
        self.seen: list[Tensor] = []  # latents from `first_seen` on, each (C, h, w)
        self.first_seen = 0
        self.next_start = 0
        self.pending: Tensor | None = None  # the last window's result where the next one overlaps

    def take(self, latents: Tensor) -> None:
        """Note down the next latents, (T, C, h, w), whose windows are then asked for one by one."""
        self.seen += latents.unbind()

    @property
    def num_left(self) -> int:
        """Latents that were taken and whose results were not given out."""
        return self.first_seen + len(self.seen) - self.next_start

    @property
    def is_full(self) -> bool:
        """Whether all latents of the next window are there."""
        return self.num_left >= self.length

    def next_window(self) -> Tensor:
        """What is final with the next window, which is full, (T', C, h, w); a step that fails changes nothing."""
        start = self.next_start - self.first_seen
        window = torch.stack(self.seen[start : start + self.length])
        made = self.blended(self.step(window))
        final = self.length - self.overlap
        self.pending = made[final:]
        self.next_start += final
        # A last window may reach back over a whole length.
        forget = max(0, self.next_start - (self.length - self.overlap) - self.first_seen)
        del self.seen[:forget]
        self.first_seen += forget
        return made[:final]

    def last_window(self) -> Tensor:
        """What is left when no window is full, (T', C, h, w), after which all is through; a failure changes nothing."""
        rest = self.num_left
        if self.pending is not None and rest == self.overlap:
            made = self.pending
        else:
            # One that is the first may be shorter.
            window = torch.stack(self.seen[-self.length :])
            made = self.blended(self.step(window)[-rest:])
        self.next_start += rest
        self.seen, self.first_seen, self.pending = [], self.next_start, None
        return made

    def shorten(self, length: int) -> None:
        """Take windows no longer than this from the next one on; neighbours go on sharing what they share."""
        self.length = max(min(length, self.length), self.overlap + 1)

    def to_main(self) -> None:
        """Go on in main memory with all that waits."""
        self.seen = [latent.cpu() for latent in self.seen]
        self.pending = None if self.pending is None else self.pending.cpu()

    def blended(self, made: Tensor) -> Tensor:
        """A window's result with its beginning faded in over what the window before said."""
        if self.pending is None or not self.overlap:
            return made
        weight = ramp(self.overlap).to(made).view(-1, 1, 1, 1)
        faded = torch.lerp(self.pending, made[: self.overlap], weight)
        return torch.cat((faded, made[self.overlap :]))


def starts(size: int, window: int, overlap: int) -> list[int]:
    """First cells of windows that cover `size` cells evenly, neighbours sharing `overlap` or more."""
    if size <= window:
        return [0]
    num = math.ceil((size - overlap) / (window - overlap))
    return [round(i * (size - window) / (num - 1)) for i in range(num)]


def feather(size: int, start: int, window: int, overlap: int) -> Tensor:
    """Weights of one window's cells along one axis, (min(window, size),): ramps on inner edges only."""
    weights = torch.ones(min(window, size), dtype=torch.float32)
    if start > 0:
        weights[:overlap] *= ramp(overlap)
    if start + window < size:
        weights[len(weights) - overlap :] *= ramp(overlap).flip(0)
    return weights


def step_in_space(latents: Tensor, step: Step, windows: Windows) -> Tensor:
    """Take the step on windows in space and blend their results.

    Args:
        latents: (T, C, h, w), even h and w.
        step: (T, C, h', w') -> the same shape.
        windows: Their `tokens` and `overlap_tokens`.

    Raises:
        ValueError: A side is odd: the transformer would drop its last row without a word.
    """
    height, width = latents.shape[-2:]
    if height % PATCH or width % PATCH:
        raise ValueError(f"latents of {height} x {width}: sides must be even")
    high, wide = windows.tokens
    if height <= high * PATCH and width <= wide * PATCH:
        return step(latents)
    high, wide = (
        even_side(side // PATCH, most, windows.overlap_tokens)
        for side, most in ((height, high), (width, wide))
    )
    shared = windows.overlap_tokens * PATCH
    total = torch.zeros_like(latents)
    weight_sum = latents.new_zeros(height, width)
    for top in starts(height // PATCH, high, windows.overlap_tokens):
        for left in starts(width // PATCH, wide, windows.overlap_tokens):
            down = feather(height, top * PATCH, high * PATCH, shared)
            across = feather(width, left * PATCH, wide * PATCH, shared)
            rows = slice(top * PATCH, top * PATCH + len(down))
            columns = slice(left * PATCH, left * PATCH + len(across))
            weight = (down[:, None] * across[None]).to(latents)
            total[..., rows, columns] += weight * step(latents[..., rows, columns].contiguous())
            weight_sum[rows, columns] += weight
    return total / weight_sum
