"""The motion of a clip, found as it is needed, and the part of it that one tile needs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from types import EllipsisType

import torch
from torch import Tensor

from diffst.cfca import CFCA, Instants, Ways
from diffst.flow import neighbour_flows
from diffst.pixels import as_float
from diffst.reach import CONTEXT_KEYFRAMES

FLOW_BYTES = 128 * 2**20  # of flows found at once: many small pairs, so that all cores find work
MAX_REACH = 128  # low-resolution pixels around a tile that motion may fetch from
MARGIN = 40  # low-resolution pixels that CFCA's convolutions look around themselves
GRID = 4  # low-resolution pixels; what CFCA sees starts on its coarsest grid


class ClipMotion:
    """A clip and the motion between its keyframes, asked for in order of time; forgets what is past."""

    def __init__(self, frames: Tensor, before: Remembered | None = None) -> None:
        """Look at frames (T, 3, H, W), float in [0, 1], uint8 or uint16; finds nothing yet.

        Args:
            frames: The clip.
            before: The end of the clip before; motion between keyframes that are in both is not sought again.
        """
        self._frames = frames
        self._flows: dict[int, Tensor] = {} if before is None else before.flows_of(frames)

    def end(self, pictures: Mapping[int, Tensor] | None = None) -> Remembered:
        """What the next clip may have in common with this one.

        Args:
            pictures: Finished keyframes, by their numbers in the clip.
        """
        pictures = pictures or {}
        ends = [*self._flows, *(max(n - CONTEXT_KEYFRAMES, 0) for n in pictures)]
        first = min(ends, default=len(self._frames) - 1)
        return Remembered(
            frames=self._frames[first:].clone(),
            flows={pair - first: flows for pair, flows in self._flows.items()},
            pictures={n - first: picture for n, picture in pictures.items()},
        )

    def around(self, instants: Instants) -> Neighbourhood:
        """The keyframes that instants depend on and the motion between them."""
        start = max(min(n for n, _ in instants) - CONTEXT_KEYFRAMES, 0)
        stop = min(max(n for n, _ in instants) + CONTEXT_KEYFRAMES + 1, len(self._frames))
        # The next clip looks back from the last keyframes finished in this one.
        past = start - CONTEXT_KEYFRAMES
        self._flows = {pair: flows for pair, flows in self._flows.items() if pair >= past}
        # Of the clip before, later pairs may be known than the first.
        unknown = (pair for pair in range(start, stop - 1) if pair not in self._flows)
        self._find(next(unknown, stop - 1), stop - 1)
        return Neighbourhood(
            first=start,
            frames=self._frames[start:stop],
            flows=[self._flows[pair] for pair in range(start, stop - 1)],
            instants=[(n - start, alpha) for n, alpha in instants],
        )

    def _find(self, first: int, stop: int) -> None:
        """Find the flows of pairs first..stop, and of some more where they are small."""
        height, width = self._frames.shape[-2:]
        at_once = max(1, FLOW_BYTES // (2 * 2 * 4 * height * width))
        while first < stop:
            last = min(first + at_once, len(self._frames) - 1)
            found = neighbour_flows(self._frames[first : last + 1])
            self._flows.update(zip(range(first, last), found.unbind(), strict=True))
            first = last


@dataclass(frozen=True, kw_only=True)
class Remembered:
    """The last keyframes of a clip, the motion between them, and what was made of some."""

    frames: Tensor
    """(T, 3, H, W), as the clip had them."""
    flows: Mapping[int, Tensor]
    """By the number of the first of both keyframes, see `neighbour_flows`."""
    pictures: Mapping[int, Tensor]
    """Finished keyframes by their number."""

    def flows_of(self, frames: Tensor) -> dict[int, Tensor]:
        """The flows of another clip's first pairs, as far as its keyframes are found here one after another.

        Motion follows from the two pictures alone, so that they are equal to the last bit is all that matters.
        """
        start, num = self._found(frames)
        moved = {pair - start: flow for pair, flow in self.flows.items()}
        return {pair: flow for pair, flow in moved.items() if 0 <= pair < num - 1}

    def pictures_of(self, frames: Tensor) -> dict[int, Tensor]:
        """Likewise the finished keyframes whose neighbours, two on each side, are found here too."""
        start, num = self._found(frames)
        moved = {n - start: picture for n, picture in self.pictures.items()}
        seen = range(CONTEXT_KEYFRAMES, num - CONTEXT_KEYFRAMES)
        return {n: picture for n, picture in moved.items() if n in seen}

    def _found(self, frames: Tensor) -> tuple[int, int]:
        """At which keyframe another clip begins, and how many from there on are the same."""
        if (self.frames.dtype, self.frames.device) != (frames.dtype, frames.device):
            return 0, 0
        num_kept = len(self.frames)
        starts = (k for k, frame in enumerate(self.frames) if torch.equal(frame, frames[0]))
        start = next(starts, num_kept)
        pairs = zip(self.frames[start:], frames, strict=False)
        return start, sum(1 for _ in takewhile(lambda pair: torch.equal(*pair), pairs))


@dataclass(frozen=True, kw_only=True)
class Neighbourhood:
    """All that CFCA needs for a few instants."""

    first: int
    """Number in the clip of the first of `frames`."""
    frames: Tensor
    """(T, 3, H, W), float in [0, 1], uint8 or uint16."""
    flows: Sequence[Tensor]
    """For each neighbouring pair (2, 2, H, W) float32, see `neighbour_flows`."""
    instants: Instants
    """Positions in `frames`."""

    def aggregate(self, cfca: CFCA, window: tuple[slice, slice]) -> Tensor:
        """A window, given as rows and columns, of each instant's frame, (I, 3, h, w).

        As if cut out of the whole, but where motion comes from more than MAX_REACH pixels away.
        """
        frames, flows, inside = self.cut_out(window)
        made: Tensor = cfca(frames, flows, self.instants)
        return made[inside]

    def context(self, cfca: CFCA, window: tuple[slice, slice]) -> tuple[Tensor, Tensor]:
        """Likewise of keyframes, (I, 3, h, w), and of their neighbours brought to them, (I, 4, 3, h, w)."""
        frames, flows, inside = self.cut_out(window)
        indices = [n for n, _ in self.instants]
        return frames[indices][inside], cfca.keyframe_context(frames, flows, indices)[inside]

    def ways(self, cfca: CFCA, window: tuple[slice, slice]) -> Ways:
        """Likewise the ways of frames between keyframes; these are numbered as in `frames`."""
        frames, flows, inside = self.cut_out(window)
        ways = cfca.ways(frames, flows, self.instants)
        return Ways(keyframes=ways.keyframes, paths=ways.paths[inside], shares=ways.shares[inside])

    def cut_out(
        self, window: tuple[slice, slice]
    ) -> tuple[Tensor, Tensor, tuple[EllipsisType | slice, ...]]:
        """What CFCA needs to see for a window, keyframes and flows, and where the window lies in it."""
        rows, columns = self.reached(window)
        height, width = rows.stop - rows.start, columns.stop - columns.start
        frames = as_float(self.frames[..., rows, columns])
        flows = [pair[..., rows, columns] for pair in self.flows]
        stacked = torch.stack(flows) if flows else frames.new_zeros(0, 2, 2, height, width)
        return frames, stacked, (..., inner(window[0], rows), inner(window[1], columns))

    def reached(self, window: tuple[slice, slice]) -> tuple[slice, slice]:
        """The rows and columns that the motion inside a window fetches from."""
        fastest = max(
            (float(pair[..., window[0], window[1]].abs().amax()) for pair in self.flows), default=0
        )
        reach = (
            min(2 * math.ceil(fastest), MAX_REACH) + MARGIN
        )  # outer keyframes are two steps away
        rows, columns = (
            slice(max(span.start - reach, 0) // GRID * GRID, min(span.stop + reach, side))
            for span, side in zip(window, self.frames.shape[-2:], strict=True)
        )
        return rows, columns


def inner(span: slice, around: slice) -> slice:
    """A span counted from the start of the one around it."""
    return slice(span.start - around.start, span.stop - around.start)
