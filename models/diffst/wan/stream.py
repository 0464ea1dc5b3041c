"""One shot through codec and transformer, handed over in pieces of any length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from diffst.attempts import Attempt, plainly
from diffst.pipeline import OnProgress, unwatched
from diffst.transfers import to_device
from diffst.wan.codec import WanCodec, WanEncoder
from diffst.wan.cuts import Cuts
from diffst.wan.tiles import TiledVae
from diffst.wan.windows import Step, WindowedStep, Windows, step_in_space

Stage = Callable[[str], AbstractContextManager[None]]


class ShotStream:
    """Enlarges one shot of any length in constant memory.

    The VAE keeps its caches from piece to piece and the transformer's windows lie on one grid over the whole shot, so
    the result does not depend on where the pieces are cut. What comes out lags behind what goes in by up to a window.

    Args:
        codec: The VAE.
        step: The one step on (T, C, h, w) latents that see each other.
        cuts: How latents are cut for it, and how many the VAE takes at once.
        size: Output height and width.
        stage: Clock of the named stages.
    """

    def __init__(
        self,
        codec: WanCodec,
        step: Step,
        cuts: Cuts,
        size: tuple[int, int],
        *,
        stage: Stage,
    ) -> None:
        self.encoder = WanEncoder(codec, size, cuts.latents_per_call)
        self.decoder = codec.decoder(size, cuts.latents_per_call)
        self.windowed = in_windows(step, cuts.windows)
        self.stage = stage
        self.num_in = 0
        self.num_out = 0

    def feed(self, frames: Tensor) -> Iterator[Tensor]:
        """Finished frames, (T', 3, height, width) float32, not clamped, after these (T, 3, H, W) in [0, 1]."""
        self.num_in += len(frames)
        for latents in timed(self.encoder.feed(frames), self.stage, "encode"):
            yield from self.pictures(latents)

    def finish(self) -> Iterator[Tensor]:
        """The rest: as many frames come out in all as went in."""
        for latents in timed(self.encoder.finish(), self.stage, "encode"):
            yield from self.pictures(latents)
        with self.stage("dit"):
            final = self.windowed.finish()
        for latents in final:
            yield from self.decoded(self.decoder.feed(latents))
        yield from self.decoded(self.decoder.finish())

    def pictures(self, latents: Tensor) -> Iterator[Tensor]:
        """Frames that are finished with these latents."""
        with self.stage("dit"):
            final = self.windowed.feed(latents)
        for some in final:
            yield from self.decoded(self.decoder.feed(some))

    def decoded(self, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
        """The decoder's pieces, without the frames that only filled the last latent."""
        for frames in timed(pieces, self.stage, "decode"):
            wanted = frames[: self.num_in - self.num_out]
            self.num_out += len(wanted)
            yield wanted


class TiledShot:
    """The same for pictures that the VAE takes in tiles: all frames come out at the end.

    Between the stages the whole shot waits in main memory; the device never holds more than one tile's or one window's
    part of it, however long it is.

    Args:
        codec: The VAE.
        step: The one step on (T, C, h, w) latents that see each other.
        cuts: Asked for before each clip of a tile and each window, which go on in narrower ones.
        size: Output height and width.
        stage: Clock of the named stages.
        kept: What pictures are kept in until all tiles are through; half precision is enough for 8 bits.
        on_progress: Told after each tile and each window, for a shot may take long.
        attempt: Each clip of a tile is one, and each window.
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
        self.num_in = 0
        self.given: list[Tensor] = []

    def feed(self, frames: Tensor) -> Iterator[Tensor]:
        """Keep these frames, (T, 3, H, W) in [0, 1]; nothing comes out yet."""
        self.device = frames.device
        self.num_in += len(frames)
        self.given.append(frames.cpu())
        yield from ()

    def finish(self) -> Iterator[Tensor]:
        """All frames, (1, 3, height, width) of `kept`, not clamped, in main memory."""
        if not self.given:
            return
        vae = TiledVae(
            self.codec,
            self.size,
            self.cuts,
            device=self.device,
            attempt=self.attempt,
            on_progress=self.on_progress,
        )
        with self.stage("encode"):
            latents = vae.encode(self.given)
        self.given.clear()
        with self.stage("dit"):
            latents = self.in_windows(latents)
        with self.stage("decode"):
            made = vae.decode(latents, self.kept)[: self.num_in]
        while made:
            yield made.pop(0).unsqueeze(0)

    def in_windows(self, latents: Tensor) -> Tensor:
        """The step on all latents of the shot, (T, C, h, w), from main memory and back."""
        windowed = in_windows(
            lambda some: self.step(to_device(some, self.device)).cpu(), self.cuts().windows
        )
        windowed.take(latents)
        stepped: list[Tensor] = []
        while windowed.num_left:
            work = windowed.next_window if windowed.is_full else windowed.last_window
            made = self.attempt(work)
            if made is None:
                windowed.shorten(self.cuts().windows.latents)
                continue
            stepped.append(made)
            self.on_progress("latents", sum(map(len, stepped)), len(latents))
        return torch.cat(stepped)


def in_windows(step: Step, windows: Windows) -> WindowedStep:
    """The step in windows of time, each in windows of space."""
    return WindowedStep(
        lambda latents: step_in_space(latents, step, windows),
        windows.latents,
        windows.overlap_latents,
    )


def timed(pieces: Iterable[Tensor], stage: Stage, name: str) -> Iterator[Tensor]:
    """The same pieces; making each one runs under the clock."""
    iterator = iter(pieces)
    while True:
        with stage(name):
            piece = next(iterator, None)
        if piece is None:
            return
        yield piece
