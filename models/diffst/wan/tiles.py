"""The VAE on tiles, for pictures that do not fit the memory whole.

Not exact: the VAE attends over the whole picture in the middle, and even without that its decoder
looks 138 pixels far. A tile goes through the whole clip before the next begins, so that only one
tile's caches are held.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from diffst.wan.codec import WanCodec, WanEncoder, padded_size
from diffst.wan.sizes import PIXEL_MULTIPLE, SPACE_STRIDE
from diffst.wan.windows import feather, starts


@dataclass(frozen=True, kw_only=True)
class VaeTiles:
    """How pictures are cut for the VAE.

    Raises:
        ValueError: The sides are no multiples of 16, or not longer than the overlap.
    """

    side: int = 512
    """Of a tile, in pixels of the output."""
    overlap: int = 64
    """Shared by neighbours, in pixels of the output."""

    def __post_init__(self) -> None:
        if self.side % PIXEL_MULTIPLE or self.overlap % PIXEL_MULTIPLE:
            raise ValueError(f"tiles and their overlap are multiples of {PIXEL_MULTIPLE}: {self}")
        if not 0 <= self.overlap < self.side:
            raise ValueError(f"tiles must be longer than their overlap: {self}")


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One tile of a picture: where it lies, in some unit of length, and what each of its places counts."""

    rows: slice
    columns: slice
    weight: Tensor
    """(height, width) float32 in (0, 1]."""


def cut(size: tuple[int, int], tiles: VaeTiles, unit: int) -> Iterator[Tile]:
    """The tiles of a padded picture.

    Args:
        size: Height and width of the picture in pixels, multiples of 16.
        tiles: How to cut.
        unit: Pixels in one step of the slices and the weights: 1 for pixels, 8 for latents.
    """
    cell = PIXEL_MULTIPLE // unit
    side, overlap = tiles.side // unit, tiles.overlap // unit
    begins = [
        [
            start * cell
            for start in starts(
                length // PIXEL_MULTIPLE,
                tiles.side // PIXEL_MULTIPLE,
                tiles.overlap // PIXEL_MULTIPLE,
            )
        ]
        for length in size
    ]
    for top in begins[0]:
        for left in begins[1]:
            down = feather(size[0] // unit, top, side, overlap)
            across = feather(size[1] // unit, left, side, overlap)
            yield Tile(
                rows=slice(top, top + len(down)),
                columns=slice(left, left + len(across)),
                weight=down[:, None] * across[None],
            )


def encode_tiled(
    codec: WanCodec, frames: Tensor, size: tuple[int, int], tiles: VaeTiles, latents_per_call: int
) -> Tensor:
    """Normalised latents of a clip, (T', C, h, w) float32, tile by tile.

    Args:
        codec: The VAE.
        frames: (T, 3, H, W) float in [0, 1].
        size: Output height and width.
        tiles: How to cut.
        latents_per_call: Latents that the VAE takes at once.
    """

    def encoded(pixels: Tile, _cells: Tile) -> Tensor:
        encoder = WanEncoder(codec, size, latents_per_call, area=(pixels.rows, pixels.columns))
        return torch.cat([*encoder.feed(frames), *encoder.finish()])

    return blended(padded_size(size), tiles, SPACE_STRIDE, encoded)


def decode_tiled(
    codec: WanCodec, latents: Tensor, size: tuple[int, int], tiles: VaeTiles, latents_per_call: int
) -> Tensor:
    """Pictures of all latents, (4 T - 3, 3, height, width) float32, about [0, 1], in the host's memory.

    Args:
        codec: The VAE.
        latents: (T, C, h, w) normalised.
        size: Output height and width.
        tiles: How to cut.
        latents_per_call: Latents that the VAE takes at once.
    """

    def decoded(pixels: Tile, cells: Tile) -> Tensor:
        decoder = codec.decoder((len(pixels.weight), pixels.weight.shape[1]), latents_per_call)
        pieces = itertools.chain(
            decoder.feed(latents[..., cells.rows, cells.columns]), decoder.finish()
        )
        return torch.cat([piece.cpu() for piece in pieces])

    return blended(padded_size(size), tiles, 1, decoded)[..., : size[0], : size[1]]


def blended(
    size: tuple[int, int], tiles: VaeTiles, unit: int, make: Callable[[Tile, Tile], Tensor]
) -> Tensor:
    """What is made of each tile, put together: the mean by weight where tiles overlap.

    Args:
        size: Height and width of the padded picture in pixels.
        tiles: How to cut.
        unit: Pixels in one place of what is made: 1 for pictures, 8 for latents.
        make: A tile, in pixels and in latents -> (T, C, height, width) in that unit.
    """
    total = weights = torch.empty(0)
    for pixels, cells in zip(cut(size, tiles, 1), cut(size, tiles, SPACE_STRIDE), strict=True):
        tile = pixels if unit == 1 else cells
        made = make(pixels, cells)
        if not len(weights):
            total = made.new_zeros(*made.shape[:2], size[0] // unit, size[1] // unit)
            weights = made.new_zeros(total.shape[-2:])
        weight = tile.weight.to(made)
        total[..., tile.rows, tile.columns] += made * weight
        weights[tile.rows, tile.columns] += weight
    return total.div_(weights)
