"""The motion of a clip, found as it is needed, and the part of it that one tile needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffst.cfca import CFCA, Aggregated, Instants
from diffst.flow import neighbour_flows
from diffst.pixels import as_float

FLOW_BYTES = 128 * 2**20  # of flows found at once: many small pairs, so that all cores find work
CONTEXT_KEYFRAMES = 2  # on each side of the keyframe before an instant
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
        self._flows: dict[int, Tensor] = {} if before is None else before.shared(frames)

    def end(self) -> Remembered:
        """What the next clip may have in common with this one."""
        first = min(self._flows, default=len(self._frames) - 1)
        flows = [self._flows[pair] for pair in range(first, first + len(self._flows))]
        return Remembered(frames=self._frames[first:].clone(), flows=flows)

    def around(self, instants: Instants) -> Neighbourhood:
        """The keyframes that instants depend on and the motion between them."""
        start = max(min(n for n, _ in instants) - CONTEXT_KEYFRAMES, 0)
        stop = min(max(n for n, _ in instants) + CONTEXT_KEYFRAMES + 1, len(self._frames))
        self._flows = {pair: flows for pair, flows in self._flows.items() if pair >= start}
        self._find(max([start, *(pair + 1 for pair in self._flows)]), stop - 1)
        return Neighbourhood(
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
    """The last keyframes of a clip and the motion between them."""

    frames: Tensor
    """(T, 3, H, W), as the clip had them."""
    flows: Sequence[Tensor]
    """T - 1 at most, from the first pair on."""

    def shared(self, frames: Tensor) -> dict[int, Tensor]:
        """The flows of another clip's first pairs, as far as its keyframes are found here one after another.

        Motion follows from the two pictures alone, so that they are equal to the last bit is all that matters.
        """
        if self.frames.dtype != frames.dtype:
            return {}
        kept = list(self.frames)
        start = next(
            (k for k, frame in enumerate(kept) if torch.equal(frame, frames[0])), len(kept)
        )
        found: dict[int, Tensor] = {}
        for pair, flow in enumerate(self.flows[start:]):
            same = pair + 1 < len(frames) and torch.equal(kept[start + pair + 1], frames[pair + 1])
            if not same:
                break
            found[pair] = flow
        return found


@dataclass(frozen=True, kw_only=True)
class Neighbourhood:
    """All that CFCA needs for a few instants."""

    frames: Tensor
    """(T, 3, H, W), float in [0, 1], uint8 or uint16."""
    flows: Sequence[Tensor]
    """For each neighbouring pair (2, 2, H, W) float32, see `neighbour_flows`."""
    instants: Instants
    """Positions in `frames`."""

    def aggregate(self, cfca: CFCA, window: tuple[slice, slice]) -> Aggregated:
        """What the keyframes say about a window, given as rows and columns, of each instant.

        As if cut out of the whole, but where motion comes from more than MAX_REACH pixels away.
        """
        rows, columns = self.reached(window)
        height, width = rows.stop - rows.start, columns.stop - columns.start
        frames = as_float(self.frames[..., rows, columns])
        flows = [pair[..., rows, columns] for pair in self.flows]
        stacked = torch.stack(flows) if flows else frames.new_zeros(0, 2, 2, height, width)
        seen: Aggregated = cfca(frames, stacked, self.instants)
        inside = (..., inner(window[0], rows), inner(window[1], columns))
        return Aggregated(
            frames=seen.frames[inside],
            context=seen.context[inside],
            paths=seen.paths[inside],
            followed=seen.followed[inside],
        )

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
