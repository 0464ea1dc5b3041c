"""Large pictures in overlapping tiles, so that memory does not grow with the picture.

The codec sees `HALO` pixels beyond what a tile gives, which is as far as its features reach; only
the transformer, whose attention is over all that it is shown, sees a tile instead of the picture.
Where two tiles meet, one fades into the other over `FADE` pixels. A tile's edges lie where
low-resolution pixels meet output pixels, so that a tile is resized as the whole picture would be.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import torch
from torch import Tensor

from diffst.fading import ramp
from diffst.pixels import in_range

# Low-resolution pixels of a picture that is not cut, and of its side: 1024 latents, as many as the transformer numbers.
WHOLE_PIXELS, WHOLE_SIDE = 640 * 480, 16384
LONGEST_SIDE = 512  # low-resolution pixels of a tile, halo included
HALO = 32  # low-resolution pixels seen beyond what is given; two latents
FADE = 16  # low-resolution pixels over which two tiles are mixed
GRID = 2  # low-resolution pixels: tiles start on the grid of the coarse features
LATENT_GRID = 16  # and on that of the latents, where the output size allows
SEARCH = 48  # low-resolution pixels an edge may move out to meet the output's pixels


@dataclass(frozen=True, kw_only=True)
class Span:
    """One side of a tile: half-open ranges of pixels."""

    seen: slice
    """Low-resolution pixels that the codec is shown."""
    made: slice
    """Output pixels that they become."""
    given: slice
    """Output pixels that the tile gives, those shared with its neighbours included."""
    fade_before: int
    """How many of the first are shared with the tile before; 0 at the picture's edge."""
    fade_after: int
    """How many of the last are shared with the tile after."""


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One tile of a picture."""

    rows: Span
    columns: Span

    @property
    def size(self) -> tuple[int, int]:
        """Output height and width of what the codec makes."""
        return length(self.rows.made), length(self.columns.made)

    @property
    def owned(self) -> tuple[slice, slice]:
        """Output rows and columns that are its own where tiles do not fade: they meet in the middle of a seam."""
        return owned(self.rows), owned(self.columns)

    @property
    def window(self) -> tuple[slice, slice]:
        """Low-resolution rows and columns that the codec is shown."""
        return self.rows.seen, self.columns.seen


def length(span: slice) -> int:
    """How many pixels a span has."""
    return int(span.stop - span.start)


def owned(span: Span) -> slice:
    """What a span gives, up to the middle of what it shares."""
    shared = span.fade_after - span.fade_after // 2
    return slice(span.given.start + span.fade_before // 2, span.given.stop - shared)


def tiles(
    frame: tuple[int, int], size: tuple[int, int], longest: int | None = None
) -> Iterator[Tile]:
    """Tiles that cover a picture, row by row; one for a small picture.

    Args:
        frame: Low-resolution height and width.
        size: Output height and width.
        longest: Low-resolution pixels of a tile's side, halo included, where memory is short; None for the usual.
    """
    is_whole = frame[0] * frame[1] <= WHOLE_PIXELS and max(frame) <= WHOLE_SIDE
    usual = max(frame) if is_whole else LONGEST_SIDE
    longest = min(usual, longest or usual)
    rows, columns = (spans(*sides, longest) for sides in zip(frame, size, strict=True))
    for row in rows:
        for column in columns:
            yield Tile(rows=row, columns=column)


def spans(side: int, out_side: int, longest: int) -> list[Span]:
    """Overlapping spans along one side, of about equal length: `longest`, or more where edges have to move."""
    ratio = Fraction(out_side, side)
    halo = max(HALO, math.ceil(2 / ratio))  # shrinking looks two output pixels far
    margin = halo + FADE // 2
    core = max(longest - 2 * margin, margin)
    num = max(1, math.ceil((side - 2 * margin) / core))
    cuts = [k * side // num for k in range(num + 1)]
    found = []
    for before, after in pairwise(cuts):
        first, last = before == 0, after == side
        up, down = max(before - margin, 0), min(after + margin, side)
        start = 0 if first else in_phase(range(up, max(up - SEARCH, 0) - 1, -1), side, ratio)
        stop = side if last else in_phase(range(down, min(down + SEARCH, side) + 1), side, ratio)
        found.append(
            Span(
                seen=slice(start, stop),
                made=slice(round(start * ratio), round(stop * ratio)),
                given=slice(
                    0 if first else faded(before, ratio).start,
                    out_side if last else faded(after, ratio).stop,
                ),
                fade_before=0 if first else length(faded(before, ratio)),
                fade_after=0 if last else length(faded(after, ratio)),
            )
        )
    return found


def faded(cut: int, ratio: Fraction) -> slice:
    """Output pixels that two tiles share where they meet."""
    return slice(round((cut - FADE // 2) * ratio), round((cut + FADE // 2) * ratio))


def in_phase(edges: Iterable[int], side: int, ratio: Fraction) -> int:
    """Of these low-resolution pixel edges the one that meets an output pixel edge best; the first of several."""

    def misfit(edge: int) -> tuple[float, bool]:
        exact = edge * ratio
        return round(float(abs(exact - round(exact))), 2), edge % LATENT_GRID != 0

    return min((edge for edge in edges if edge % GRID == 0 or edge == side), key=misfit)


class Canvas:
    """Output frames being put together of tiles, which come row by row; holds only their seams."""

    def __init__(self, made: Tensor) -> None:
        """Fill `made`, (I, 3, height, width), float32, uint8 or uint16, which the caller owns."""
        self._made = made
        self._right: Tensor | None = None
        self._below: dict[int, Tensor] = {}

    def add(self, picture: Tensor, tile: Tile) -> None:
        """Put the next tile in its place.

        Args:
            picture: (I, 3, *tile.size), of the canvas's type, or float32 where it has seams.
            tile: Which it is.
        """
        rows, columns = tile.rows, tile.columns
        piece = picture[..., within(rows), within(columns)]
        if columns.fade_before and self._right is not None:
            piece = torch.cat(
                (mix(self._right, piece, dim=-1), piece[..., columns.fade_before :]), -1
            )
        if columns.fade_after:
            self._right = piece[..., -columns.fade_after :].clone()
            piece = piece[..., : -columns.fade_after]
        place = columns.given.start
        if rows.fade_before:
            above = self._below.pop(place)
            piece = torch.cat((mix(above, piece, dim=-2), piece[..., rows.fade_before :, :]), -2)
        if rows.fade_after:
            self._below[place] = piece[..., -rows.fade_after :, :].clone()
            piece = piece[..., : -rows.fade_after, :]
        height, width = piece.shape[-2:]
        top = rows.given.start
        self._made[..., top : top + height, place : place + width] = self._finished(piece)

    def _finished(self, piece: Tensor) -> Tensor:
        """Clamped to [0, 1], or rounded to the integers wanted."""
        return in_range(piece, self._made.dtype) if piece.is_floating_point() else piece


def within(span: Span) -> slice:
    """What a tile gives, counted from the first pixel that it makes."""
    return slice(span.given.start - span.made.start, span.given.stop - span.made.start)


def mix(before: Tensor, piece: Tensor, dim: int) -> Tensor:
    """One tile's seam fading into the first pixels of the next along `dim`; never wholly either."""
    num = before.shape[dim]
    shape = [1] * before.ndim
    shape[dim] = num
    return torch.lerp(before, piece.narrow(dim, 0, num), ramp(num, before.device).view(shape))
