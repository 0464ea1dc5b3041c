"""The VAE on tiles, for pictures that do not fit the memory whole.

Not exact: the VAE attends over the whole picture in the middle, and even without that its decoder
looks 138 pixels far. In time it is exact: a tile goes through the whole shot before the next begins,
so that only one tile's caches are ever there. All tiles' caches would take 7.8 KB for each output
pixel, as much as 1300 pictures that are kept until the last tile is through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from diffst.pipeline import OnProgress, unwatched
from diffst.transfers import in_main_memory, to_device
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
    codec: WanCodec,
    frames: Iterable[Tensor],
    size: tuple[int, int],
    tiles: VaeTiles,
    *,
    device: torch.device,
    latents_per_call: int = 1,
    on_progress: OnProgress = unwatched,
) -> Tensor:
    """Normalised latents of a shot, (T', C, h, w) float32, in main memory.

    Args:
        codec: The VAE.
        frames: Pieces (T, 3, H, W) float in [0, 1], in main memory.
        size: Output height and width.
        tiles: How to cut.
        device: Where the VAE works; it holds one tile's part at a time.
        latents_per_call: Latents that the VAE takes at once.
        on_progress: Told after each tile.
    """

    def encoded(pixels: Tile, _cells: Tile) -> Iterator[Tensor]:
        encoder = WanEncoder(codec, size, latents_per_call, area=(pixels.rows, pixels.columns))
        for some in frames:
            yield from encoder.feed(to_device(some, device))
        yield from encoder.finish()

    told = partial(on_progress, "encode tiles")
    return torch.cat(blended(padded_size(size), tiles, SPACE_STRIDE, encoded, device, told=told))


def decode_tiled(
    codec: WanCodec,
    latents: Tensor,
    size: tuple[int, int],
    tiles: VaeTiles,
    *,
    device: torch.device,
    latents_per_call: int = 1,
    kept: torch.dtype = torch.float32,
    on_progress: OnProgress = unwatched,
) -> list[Tensor]:
    """Pictures of all latents in pieces (T', 3, height, width), about [0, 1], in main memory; 4 T - 3 in all.

    Args:
        codec: The VAE.
        latents: (T, C, h, w) normalised, in main memory.
        size: Output height and width.
        tiles: How to cut.
        device: Where the VAE works; it holds one tile's part at a time.
        latents_per_call: Latents that the VAE takes at once.
        kept: What the pictures are kept in.
        on_progress: Told after each tile.
    """

    def decoded(pixels: Tile, cells: Tile) -> Iterator[Tensor]:
        decoder = codec.decoder((len(pixels.weight), pixels.weight.shape[1]), latents_per_call)
        for some in latents[..., cells.rows, cells.columns].split(1):
            yield from decoder.feed(to_device(some, device))
        yield from decoder.finish()

    told = partial(on_progress, "decode tiles")
    pieces = blended(padded_size(size), tiles, 1, decoded, device, kept, told=told)
    return [piece[..., : size[0], : size[1]] for piece in pieces]


def blended(
    size: tuple[int, int],
    tiles: VaeTiles,
    unit: int,
    make: Callable[[Tile, Tile], Iterable[Tensor]],
    device: torch.device,
    kept: torch.dtype = torch.float32,
    *,
    told: Callable[[int, int], None],
) -> list[Tensor]:
    """What is made of each tile, put together in main memory: the mean by weight where tiles overlap.

    Args:
        size: Height and width of the padded picture in pixels.
        tiles: How to cut.
        unit: Pixels in one place of what is made: 1 for pictures, 8 for latents.
        make: A tile, in pixels and in latents -> pieces (T, C, height, width) in that unit, on the device.
        device: See there.
        kept: Type of the whole.
        told: Told after each tile how many of how many are done.

    Returns:
        Pieces as `make` makes them, (T, C, whole height, whole width).
    """
    weights = torch.zeros(size[0] // unit, size[1] // unit)
    for tile in cut(size, tiles, unit):
        weights[tile.rows, tile.columns] += tile.weight
    whole: list[Tensor] = []
    both = list(zip(cut(size, tiles, 1), cut(size, tiles, SPACE_STRIDE), strict=True))
    for done, (pixels, cells) in enumerate(both, start=1):
        tile = pixels if unit == 1 else cells
        share = (tile.weight / weights[tile.rows, tile.columns]).to(device)
        parts = ((part * share).to(kept) for part in make(pixels, cells))
        for number, part in enumerate(in_main_memory(parts, device)):
            if number == len(whole):
                whole.append(part.new_zeros(*part.shape[:2], *weights.shape))
            whole[number][..., tile.rows, tile.columns] += part
        told(done, len(both))
    return whole
