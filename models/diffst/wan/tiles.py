"""The VAE on tiles, for pictures that do not fit the memory whole.

Not exact: the VAE attends over the whole picture in the middle, and even without that its decoder
looks 138 pixels far. In time it is exact: a tile goes through the whole shot before the next begins,
so that only one tile's caches are ever there. All tiles' caches would take 7.8 KB for each output
pixel, as much as 1300 pictures that are kept until the last tile is through.

A tile goes through the shot clip by clip. Where memory runs out, the clip at hand alone is made
again, from what the tile remembered before it; where the limits then ask for smaller tiles, each of
them goes on with its part of that. A shot that began in whole pictures goes on in tiles likewise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from diffst.attempts import Attempt, plainly
from diffst.pipeline import OnProgress, unwatched
from diffst.transfers import HostCopies, in_main_memory, to_device
from diffst.wan.codec import FRAMES_AT_ONCE, WanCodec, WanDecoder, WanEncoder, padded_size
from diffst.wan.cuts import Cuts, Tile
from diffst.wan.sizes import SPACE_STRIDE, TIME_STRIDE
from diffst.wan.vae_stream import Cache

CLIP_LATENTS = 16  # between two copies of what a tile remembers; 64 frames, a clip of 33 keyframes at twice the rate


@dataclass(frozen=True, kw_only=True)
class Half:
    """What the encoder or the decoder does with a tile."""

    name: str
    begin: Callable[[Tile, Cache | None], WanEncoder | WanDecoder]
    """It on a tile, going on from a cache."""
    given: Callable[[Tile, int], Iterable[Tensor]]
    """What it is fed from the tile's next latent on up to another one, in main memory."""
    unit: int
    """Pixels in one place of what is made: 1 for pictures, 8 for latents."""
    kept: torch.dtype
    """Type of what is made, until all tiles are through."""

    def num_made(self, num_latents: int) -> int:
        """What it makes, in number, of the first so many latents of a shot."""
        return num_frames(num_latents) if self.unit == 1 else num_latents


class TiledVae:
    """Encodes or decodes one shot in tiles, or what is left of it.

    Args:
        codec: The VAE.
        size: Output height and width.
        cuts: Asked for before each clip of each tile; without tiles in them, tiles stay as large as they are.
        device: Where the VAE works; it holds one tile's part at a time.
        attempt: Each clip of each tile is one.
        on_progress: Told after each tile.
    """

    def __init__(
        self,
        codec: WanCodec,
        size: tuple[int, int],
        cuts: Callable[[], Cuts],
        *,
        device: torch.device,
        attempt: Attempt = plainly,
        on_progress: OnProgress = unwatched,
    ) -> None:
        self.codec = codec
        self.size = size
        self.cuts = cuts
        self.device = device
        self.attempt = attempt
        self.on_progress = on_progress

    def encode(self, frames: Sequence[Tensor], picture: Tile | None = None) -> Tensor:
        """Normalised latents of a shot, (T', C, h, w) float32, in main memory.

        Args:
            frames: All that are left, at least one, each (3, H, W) float in [0, 1], in main memory.
            picture: The whole picture, with how far the shot is encoded; None begins it.
        """
        picture = picture or Tile.whole(padded_size(self.size), SPACE_STRIDE)
        first = num_frames(picture.latents)

        def begin(tile: Tile, cache: Cache | None) -> WanEncoder:
            area = (tile.rows, tile.columns)
            return WanEncoder(self.codec, self.size, self.cuts().latents_per_call, area, cache)

        def given(tile: Tile, stop: int) -> Iterator[Tensor]:
            clip = frames[num_frames(tile.latents) - first : num_frames(stop) - first]
            for start in range(0, len(clip), FRAMES_AT_ONCE):
                yield torch.stack(list(clip[start : start + FRAMES_AT_ONCE]))

        num_latents = 1 + -(-(first + len(frames) - 1) // TIME_STRIDE)
        half = Half(name="encode", begin=begin, given=given, unit=SPACE_STRIDE, kept=torch.float32)
        return torch.stack(self.through(half, picture, num_latents))

    def decode(
        self, latents: Tensor, kept: torch.dtype = torch.float32, picture: Tile | None = None
    ) -> list[Tensor]:
        """Pictures of latents, each (3, height, width), about [0, 1], in main memory; 4 T - 3 in all of a whole shot.

        Args:
            latents: All that are left, (T, C, h, w) normalised, in main memory.
            kept: What the pictures are kept in.
            picture: The whole picture, with how far the shot is decoded; None begins it.
        """
        picture = picture or Tile.whole(padded_size(self.size), 1)
        first = picture.latents

        def begin(tile: Tile, cache: Cache | None) -> WanDecoder:
            return self.codec.decoder(tile.size, self.cuts().latents_per_call, cache)

        def given(tile: Tile, stop: int) -> Iterable[Tensor]:
            rows, columns = tile.places(SPACE_STRIDE)
            left = range(tile.latents - first, stop - first)
            return (latents[n : n + 1, :, rows, columns] for n in left)

        half = Half(name="decode", begin=begin, given=given, unit=1, kept=kept)
        pictures = self.through(half, picture, first + len(latents))
        return [picture[..., : self.size[0], : self.size[1]] for picture in pictures]

    def through(self, half: Half, picture: Tile, num_latents: int) -> list[Tensor]:
        """All that is left to make, each (C, whole height, whole width): the mean by weight where tiles overlap."""
        waiting, num_done = [picture], 0
        first = half.num_made(picture.latents)
        whole: list[Tensor] = []
        while waiting:
            tile = waiting.pop(0)
            while tile.latents < num_latents and tile.within(self.cuts().vae_tiles):
                stop = min(max(tile.latents, 1) + CLIP_LATENTS, num_latents)
                self.add_clip(half, tile, stop, whole, first)
            tiles = self.cuts().vae_tiles
            if tile.latents < num_latents and tiles is not None:
                # Nothing has to go on where nothing is made yet.
                waiting = [*tile.cut(tiles), *waiting] if whole else picture.cut(tiles)
            else:
                num_done += 1
                self.on_progress(f"{half.name} tiles", num_done, num_done + len(waiting))
        return whole

    def add_clip(self, half: Half, tile: Tile, stop: int, whole: list[Tensor], first: int) -> None:
        """Add to the whole, from a `first` one on, what a tile makes up to a latent; nothing where memory runs out."""
        before = in_main(tile.cache, self.device) if self.attempt.may_repeat() else None
        made = self.attempt(partial(self.clip, half, tile, stop))
        if made is None:
            tile.cache = before
            return
        rows, columns = tile.places(half.unit)
        shape = [side // half.unit for side in padded_size(self.size)]
        start = half.num_made(tile.latents) - first
        for number, part in enumerate(chain.from_iterable(made), start=start):
            if number == len(whole):
                whole.append(part.new_zeros(len(part), *shape))
            whole[number][:, rows, columns] += part
        tile.latents = stop

    def clip(self, half: Half, tile: Tile, stop: int) -> list[Tensor]:
        """A tile's share of what is made up to a latent, pieces (N, C, height, width) in main memory."""
        # Not held by the tile meanwhile: the device has no room for both.
        cache, tile.cache = tile.cache, None
        coder = half.begin(tile, cache and [moved(entry, self.device) for entry in cache])
        del cache
        fed = (coder.feed(to_device(some, self.device)) for some in half.given(tile, stop))
        pieces = chain(chain.from_iterable(fed), coder.finish())
        share = tile.share.to(self.device)
        parts = ((piece * share).to(half.kept) for piece in pieces)
        made = list(in_main_memory(parts, self.device))
        tile.cache = coder.stream.cache
        return made


def in_main(cache: Cache | None, device: torch.device) -> Cache | None:
    """A copy in main memory of what was remembered on a device."""
    if cache is None:
        return None
    copies = HostCopies(device)
    kept = [copies.start(entry) if isinstance(entry, Tensor) else entry for entry in cache]
    copies.wait()
    return kept


def moved(entry: Any, device: torch.device) -> Any:
    """An entry of a cache on a device; a mark as it is."""
    return to_device(entry, device) if isinstance(entry, Tensor) else entry


def num_frames(num_latents: int) -> int:
    """Frames in the first so many latents of a shot."""
    return TIME_STRIDE * (num_latents - 1) + 1 if num_latents else 0
