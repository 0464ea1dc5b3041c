"""One shot through codec and transformer, handed over in pieces of any length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial

import torch
from torch import Tensor

from diffst.attempts import Attempt, plainly
from diffst.pipeline import OnProgress, unwatched
from diffst.transfers import to_device
from diffst.wan.codec import WanCodec, WanDecoder, WanEncoder, padded_size
from diffst.wan.cuts import Cuts, Tile
from diffst.wan.sizes import SPACE_STRIDE, TIME_STRIDE
from diffst.wan.tiles import TiledVae, in_main
from diffst.wan.vae_stream import Cache
from diffst.wan.windows import Step, WindowedStep, step_in_space

Stage = Callable[[str], AbstractContextManager[None]]


class ShotStream:
    """Enlarges one shot of any length.

    In whole pictures, while the limits ask for no tiles, each comes out as soon as it can, in constant memory: the VAE
    keeps its caches from call to call and the transformer's windows lie on one grid over the whole shot, so the result
    does not depend on where the shot is cut into pieces. What comes out lags behind what goes in by up to a window.

    In tiles all that is left of the shot comes out at its end. Between the stages it waits in main memory; the device
    never holds more than one tile's or one window's part of it, however long it is. Where the limits ask for tiles in
    the middle of a shot, what was remembered goes to main memory, and each tile goes on with its part of it.

    Args:
        codec: The VAE.
        step: The one step on (T, C, h, w) latents that see each other.
        cuts: Asked for before each piece of work, which goes on in narrower ones.
        size: Output height and width.
        stage: Clock of the named stages.
        kept: What pictures are kept in until all tiles are through; half precision is enough for 8 bits.
        on_progress: Told after each tile and each window in tiles, where a shot may take long.
        attempt: Each call of the VAE on whole pictures is one, each window, and each clip of a tile.
    """

    def __init__(
        self,
        codec: WanCodec,
        step: Step,
        cuts: Callable[[], Cuts],
        size: tuple[int, int],
        *,
        stage: Stage,
        kept: torch.dtype = torch.float32,
        on_progress: OnProgress = unwatched,
        attempt: Attempt = plainly,
    ) -> None:
        self.codec = codec
        self.step = step
        self.cuts = cuts
        self.size = size
        self.stage = stage
        self.kept = kept
        self.on_progress = on_progress
        self.attempt = attempt
        self.device = torch.device("cpu")
        self.windowed = WindowedStep(
            self.in_space, cuts().windows.latents, cuts().windows.overlap_latents
        )
        # How far the two halves of the VAE are.
        self.encoded = Tile.whole(padded_size(size), SPACE_STRIDE)
        self.decoded = Tile.whole(padded_size(size), 1)
        self.given: list[Tensor] = []  # frames that wait for the encoder
        self.stepped: list[Tensor] = []  # latents that wait for the decoder
        self.in_tiles = False
        self.num_in = 0
        self.num_out = 0

    def feed(self, frames: Tensor) -> Iterator[Tensor]:
        """Finished frames, (T', 3, height, width) float32, not clamped, after these (T, 3, H, W) in [0, 1]."""
        self.device = frames.device
        self.num_in += len(frames)
        self.given += (frames.cpu() if self.in_tiles else frames).unbind()
        yield from self.whole(ends=False)

    def finish(self) -> Iterator[Tensor]:
        """The rest: as many frames come out in all as went in; those of tiles are of `kept` and in main memory."""
        yield from self.whole(ends=True)
        if self.in_tiles and self.num_out < self.num_in:
            yield from self.tiled()

    def whole(self, *, ends: bool) -> Iterator[Tensor]:
        """What can be made now of whole pictures, the latest stage first, so that little waits between them."""
        while not self.in_tiles:
            if self.cuts().vae_tiles is not None:
                self.turn_to_tiles()
                return
            all_encoded = ends and not self.given
            all_stepped = all_encoded and not self.windowed.num_left
            if self.fills_call(self.stepped, self.decoded, 1, ends=all_stepped):
                yield from self.decode()
            elif self.windowed.is_full or (all_encoded and self.windowed.num_left):
                self.take_window()
            elif self.fills_call(self.given, self.encoded, TIME_STRIDE, ends=ends):
                self.encode()
            else:
                return

    def turn_to_tiles(self) -> None:
        """Bring all that waits and all that is remembered to main memory, and make the rest in tiles."""
        self.in_tiles = True
        for picture in (self.encoded, self.decoded):
            picture.cache = in_main(picture.cache, self.device)
        self.given = [frame.cpu() for frame in self.given]
        self.stepped = [latent.cpu() for latent in self.stepped]
        self.windowed.to_main()

    def fills_call(
        self, waiting: Sequence[Tensor], picture: Tile, stride: int, *, ends: bool
    ) -> bool:
        """Whether enough waits for the VAE's next call, of so many for each latent; where the shot ends, anything."""
        return len(waiting) >= self.call_length(picture, stride) or (ends and bool(waiting))

    def call_length(self, picture: Tile, stride: int) -> int:
        """What the VAE takes in its next call on whole pictures: the first frame is a latent of its own."""
        return stride * self.cuts().latents_per_call if picture.latents else 1

    def encode(self) -> None:
        """Latents of the next frames."""
        some = self.given[: self.call_length(self.encoded, TIME_STRIDE)]
        area = (self.encoded.rows, self.encoded.columns)

        def begin(cache: Cache | None) -> WanEncoder:
            return WanEncoder(self.codec, self.size, self.cuts().latents_per_call, area, cache)

        with self.stage("encode"):
            latents = self.attempt(partial(self.call, self.encoded, begin, some))
        if latents is not None:
            self.encoded.latents += len(latents)
            self.windowed.take(latents)
            del self.given[: len(some)]

    def take_window(self) -> None:
        """The step on the next latents."""
        self.windowed.shorten(self.cuts().windows.latents)
        work = self.windowed.next_window if self.windowed.is_full else self.windowed.last_window
        with self.stage("dit"):
            latents = self.attempt(work)
        if latents is not None:
            self.stepped += latents.unbind()

    def decode(self) -> Iterator[Tensor]:
        """Pictures of the next latents, without those that only filled the last one."""
        some = self.stepped[: self.call_length(self.decoded, 1)]

        def begin(cache: Cache | None) -> WanDecoder:
            return self.codec.decoder(self.size, self.cuts().latents_per_call, cache)

        with self.stage("decode"):
            pictures = self.attempt(partial(self.call, self.decoded, begin, some))
        if pictures is not None:
            self.decoded.latents += len(some)
            del self.stepped[: len(some)]
            wanted = pictures[: self.num_in - self.num_out]
            self.num_out += len(wanted)
            yield wanted

    def call(
        self,
        picture: Tile,
        begin: Callable[[Cache | None], WanEncoder | WanDecoder],
        some: Sequence[Tensor],
    ) -> Tensor:
        """What a half of the VAE makes of what it is given next; it remembers nothing of a call that fails."""
        # The list is its own where this may fail: entries are replaced one by one, and the old ones live on in ours.
        cache = picture.cache
        coder = begin(cache and list(cache) if self.attempt.may_repeat() else cache)
        (made,) = (*coder.feed(torch.stack(list(some))), *coder.finish())
        picture.cache = coder.stream.cache
        return made

    def tiled(self) -> Iterator[Tensor]:
        """The rest in tiles, (1, 3, height, width) of `kept`, not clamped, in main memory."""
        vae = TiledVae(
            self.codec,
            self.size,
            self.cuts,
            device=self.device,
            attempt=self.attempt,
            on_progress=self.on_progress,
        )
        if self.given:
            with self.stage("encode"):
                self.windowed.take(vae.encode(self.given, self.encoded))
            self.given.clear()
        self.encoded.cache = None
        num_latents = self.windowed.num_left
        while self.windowed.num_left:
            self.take_window()
            self.on_progress("latents", num_latents - self.windowed.num_left, num_latents)
        latents = torch.stack(self.stepped)
        self.stepped.clear()
        with self.stage("decode"):
            made = vae.decode(latents, self.kept, self.decoded)
        self.decoded.cache = None
        del made[self.num_in - self.num_out :]
        while made:
            yield made.pop(0).unsqueeze(0)

    def in_space(self, latents: Tensor) -> Tensor:
        """The step in windows of space; of latents in main memory the result is there too."""
        windows = self.cuts().windows
        made = step_in_space(to_device(latents, self.device), self.step, windows)
        return made.cpu() if self.in_tiles else made
