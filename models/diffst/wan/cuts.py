"""How a job is cut to fit the machine: windows for the transformer, calls and tiles for the VAE."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from diffst.wan.sizes import PIXEL_MULTIPLE, even_side
from diffst.wan.vae_stream import Cache
from diffst.wan.windows import Windows, feather, starts


@dataclass(frozen=True, kw_only=True)
class VaeTiles:
    """How pictures are cut for the VAE.

    Raises:
        ValueError: The sides are no multiples of 16, or not longer than the overlap.
    """

    side: int = 512
    """Of a tile at most, in pixels of the output; all are of one size, no larger than so many tiles must be."""
    overlap: int = 64
    """Shared by neighbours, in pixels of the output."""

    def __post_init__(self) -> None:
        if self.side % PIXEL_MULTIPLE or self.overlap % PIXEL_MULTIPLE:
            raise ValueError(f"tiles and their overlap are multiples of {PIXEL_MULTIPLE}: {self}")
        if not 0 <= self.overlap < self.side:
            raise ValueError(f"tiles must be longer than their overlap: {self}")


@dataclass(frozen=True, kw_only=True)
class Cuts:
    """How a job is cut to fit the machine. Planned anew for each; nothing of it is saved."""

    windows: Windows = field(default_factory=Windows)
    """For the transformer."""
    latents_per_call: int = 1
    """That the VAE takes at once; more need more memory, the result is the same to rounding."""
    vae_tiles: VaeTiles | None = None
    """For the VAE; None gives it whole pictures, which is exact and lets frames out before the clip is through."""


@dataclass(kw_only=True)
class Tile:
    """A part of a picture, and how far the shot is made there."""

    rows: slice
    """In pixels of the padded picture."""
    columns: slice
    share: Tensor
    """(height, width) float32 in (0, 1], in the unit of what is made; those of all tiles sum to 1 at each place."""
    latents: int = 0
    """That are through."""
    cache: Cache | None = None
    """What the network remembers of them; None before the first."""

    @classmethod
    def whole(cls, size: tuple[int, int], unit: int) -> Tile:
        """A padded picture of a size that is not cut, at the beginning of a shot; `unit` as for `cut`."""
        high, wide = size
        share = torch.ones(high // unit, wide // unit, dtype=torch.float32)
        return cls(rows=slice(0, high), columns=slice(0, wide), share=share)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start

    def within(self, tiles: VaeTiles | None) -> bool:
        """Whether it is no larger than tiles may be."""
        return tiles is None or max(self.size) <= tiles.side

    def places(self, unit: int) -> tuple[slice, slice]:
        """Its rows and columns in steps of `unit` pixels."""
        rows, columns = (
            slice(of.start // unit, of.stop // unit) for of in (self.rows, self.columns)
        )
        return rows, columns

    def cut(self, tiles: VaeTiles) -> list[Tile]:
        """Smaller tiles that go on where this one is, each with its part of what was remembered."""
        unit = self.size[0] // len(self.share)
        inner = list(cut(self.size, tiles, unit))
        total = torch.zeros_like(self.share)
        for tile in inner:
            total[tile.places(unit)] += tile.share
        for tile in inner:
            places = tile.places(unit)
            tile.share = tile.share / total[places] * self.share[places]
            tile.latents = self.latents
            tile.cache = self.cache and [self.part(entry, tile) for entry in self.cache]
            tile.rows, tile.columns = (
                slice(whole.start + of.start, whole.start + of.stop)
                for whole, of in ((self.rows, tile.rows), (self.columns, tile.columns))
            )
        return inner

    def part(self, entry: Any, tile: Tile) -> Any:
        """What a tile inside takes of an entry of the cache, (..., h, w) at any of the network's sizes, or a mark."""
        if not isinstance(entry, Tensor):
            return entry
        rows, columns = tile.places(self.size[0] // entry.shape[-2])
        return entry[..., rows, columns]


def cut(size: tuple[int, int], tiles: VaeTiles, unit: int) -> Iterator[Tile]:
    """The tiles of a padded picture; their shares are weights still, which do not sum to 1 where tiles overlap.

    Args:
        size: Height and width of the picture in pixels, multiples of 16.
        tiles: How to cut.
        unit: Pixels in one step of the weights: 1 for pixels, 8 for latents.
    """
    strips = [list(cut_side(length, tiles, unit)) for length in size]
    for rows, down in strips[0]:
        for columns, across in strips[1]:
            yield Tile(rows=rows, columns=columns, share=down[:, None] * across[None])


def cut_side(length: int, tiles: VaeTiles, unit: int) -> Iterator[tuple[slice, Tensor]]:
    """One side of the tiles, in pixels, and its weights; for the rest see `cut`."""
    cells, most, shared = (
        pixels // PIXEL_MULTIPLE for pixels in (length, tiles.side, tiles.overlap)
    )
    side = even_side(cells, most, shared)
    for start in starts(cells, side, shared):
        begin, stop = start * PIXEL_MULTIPLE, (start + side) * PIXEL_MULTIPLE
        weights = feather(
            length // unit, begin // unit, (stop - begin) // unit, tiles.overlap // unit
        )
        yield slice(begin, stop), weights
