"""The VAE on tiles, for pictures that do not fit the memory whole.

Not exact: the VAE attends over the whole picture in the middle, and even without that its decoder
looks 138 pixels far. A tile goes through the whole clip before the next begins, so that only one
tile's caches are held.
"""

from __future__ import annotations

from collections.abc import Iterator
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
    blended = Blend()
    padded = padded_size(size)
    places = zip(cut(padded, tiles, 1), cut(padded, tiles, SPACE_STRIDE), strict=True)
    for pixels, cells in places:
        encoder = WanEncoder(codec, size, latents_per_call, area=(pixels.rows, pixels.columns))
        made = torch.cat([*encoder.feed(frames), *encoder.finish()])
        blended.add(made, cells, (padded[0] // SPACE_STRIDE, padded[1] // SPACE_STRIDE))
    return blended.result()


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
    blended = Blend()
    padded = padded_size(size)
    places = zip(cut(padded, tiles, 1), cut(padded, tiles, SPACE_STRIDE), strict=True)
    for pixels, cells in places:
        decoder = codec.decoder((len(pixels.weight), pixels.weight.shape[1]), latents_per_call)
        some = latents[..., cells.rows, cells.columns]
        made = [piece.cpu() for piece in decoder.feed(some)]
        made += [piece.cpu() for piece in decoder.finish()]
        blended.add(torch.cat(made), pixels, padded)
    return blended.result()[..., : size[0], : size[1]]


class Blend:
    """Adds up weighted tiles."""

    def __init__(self) -> None:
        self.total: Tensor | None = None
        self.weights: Tensor | None = None

    def add(self, made: Tensor, tile: Tile, size: tuple[int, int]) -> None:
        """Add what a tile made, (T, C, height, width), to a picture of a size."""
        if self.total is None or self.weights is None:
            self.total = made.new_zeros(*made.shape[:2], *size)
            self.weights = made.new_zeros(size)
        weight = tile.weight.to(made)
        self.total[..., tile.rows, tile.columns] += made * weight
        self.weights[tile.rows, tile.columns] += weight

    def result(self) -> Tensor:
        """The mean, by weight."""
        assert self.total is not None
        assert self.weights is not None
        return self.total.div_(self.weights)
