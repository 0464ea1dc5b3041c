"""A clip's work in pieces, and what is finished of it: keyframes by the codec, then the frames between them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffst.cfca import Instants, Ways
from diffst.fusion import picture_made, picture_to_look_up
from diffst.neighbourhood import Neighbourhood
from diffst.tiling import Canvas, Tile

Run = tuple[list[int], list[tuple[int, tuple[int, float]]]]
"""Keyframes to be made together, or new frames as their places among those asked for and their instants."""


@dataclass(frozen=True, kw_only=True)
class KeyframeTile:
    """One tile of a few keyframes, to be made by the codec."""

    around: Neighbourhood
    """The keyframes that these depend on."""
    tile: Tile
    output_type: torch.dtype
    """Of the finished tile."""
    group: KeyframesInWork
    """What it is a tile of."""


@dataclass(frozen=True, kw_only=True)
class KeyframesInWork:
    """A few keyframes that go through the codec together."""

    numbers: Sequence[int]
    """Theirs in the clip."""
    pictures: Tensor
    """(N, 3, height, width), being filled."""
    canvas: Canvas
    """Where their tiles belong: `pictures`."""
    last_tile: Tile


@dataclass(frozen=True, kw_only=True)
class BetweenTile:
    """One tile of a new frame, to be mixed of finished keyframes."""

    around: Neighbourhood
    """The keyframes that it depends on, and its one instant."""
    tile: Tile
    frame: Tensor
    """(3, height, width), where it belongs."""
    keyframes: frozenset[int]
    """Numbers in the clip of those that have to be finished."""


class Finished:
    """A clip's finished keyframes, as long as new frames or the next clip may need them.

    Args:
        made: (I, 3, height, width), the clip's frames, where those that were asked for are put.
        instants: Of each.
        num_keyframes: Of the clip.
    """

    def __init__(self, made: Tensor, instants: Instants, num_keyframes: int) -> None:
        self.made = made
        self.size = (made.shape[-2], made.shape[-1])
        self.kind = made.dtype
        self.pictures: dict[int, Tensor] = {}
        """By the keyframe's number, as `picture_to_look_up` keeps them."""
        self._instants = instants
        self._last = num_keyframes - 1
        self._looked_up = frozenset().union(
            *(self.needed(instant) for instant in instants if instant[1] > 0)
        )

    def needed(self, instant: tuple[int, float]) -> frozenset[int]:
        """The keyframes that a new frame looks up."""
        n, _ = instant
        return frozenset(range(max(n - 1, 0), min(n + 2, self._last) + 1))

    def take_over(self, pictures: Mapping[int, Tensor]) -> None:
        """Pictures that the clip before made of the same keyframes, where they fit."""
        for n, picture in pictures.items():
            own = picture_made(picture)
            if n in self._looked_up and (own.shape, own.dtype) == (self.made.shape[1:], self.kind):
                self.pictures[n] = picture
                self._give(n, own)

    def in_time(self, group: int) -> Iterator[Run]:
        """The work in order of time: keyframes still to be made, or new frames; the other is empty.

        Args:
            group: Keyframes in a run, at most.
        """
        kept = {n for n, alpha in self._instants if alpha == 0}
        missing = sorted((kept | self._looked_up) - set(self.pictures))
        asked = ((i, at) for i, at in enumerate(self._instants) if at[1] > 0)
        new = deque(sorted(asked, key=lambda item: item[1]))
        groups = [missing[start : start + group] for start in range(0, len(missing), group)]
        for keyframes in groups:
            earlier = [new.popleft() for _ in range(len(new)) if new[0][1][0] < keyframes[0]]
            if earlier:
                yield [], earlier
            yield keyframes, []
        yield [], list(new)

    def add(self, group: KeyframesInWork) -> None:
        """Take finished keyframes, to be given and to be looked up."""
        for n, picture in zip(group.numbers, group.pictures, strict=True):
            self._give(n, picture)
            if n in self._looked_up:
                self.pictures[n] = picture_to_look_up(picture)

    def _give(self, n: int, picture: Tensor) -> None:
        for index, instant in enumerate(self._instants):
            if instant == (n, 0):
                self.made[index] = picture

    def allow(self, piece: KeyframeTile | BetweenTile) -> bool:
        """Whether all is there that a piece is made of."""
        return isinstance(piece, KeyframeTile) or piece.keyframes <= self.pictures.keys()

    def chosen(self, around: Neighbourhood, ways: Ways) -> list[Tensor]:
        """For each way of a new frame what it looks up."""
        return [self.pictures[around.first + n] for n in ways.keyframes[0]]

    def forget(self, piece: BetweenTile) -> None:
        """A new frame is made; those after it, in the next clip too, look up no keyframe before its own."""
        first = min(piece.keyframes)
        self.pictures = {n: picture for n, picture in self.pictures.items() if n >= first}
