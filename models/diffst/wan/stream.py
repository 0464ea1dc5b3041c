"""One shot through codec and transformer, handed over in pieces of any length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager

from torch import Tensor

from diffst.wan.codec import WanCodec, WanDecoder, WanEncoder
from diffst.wan.windows import Step, WindowedStep, Windows, step_in_space

Stage = Callable[[str], AbstractContextManager[None]]


class ShotStream:
    """Enlarges one shot of any length in constant memory.

    The VAE keeps its caches from piece to piece and the transformer's windows lie on one grid over the whole shot, so
    the result does not depend on where the pieces are cut. What comes out lags behind what goes in by up to a window.

    Args:
        codec: The VAE.
        step: The one step on (T, C, h, w) latents that see each other.
        windows: How latents are cut for it.
        size: Output height and width.
        latents_per_call: Latents that the VAE takes at once.
        stage: Clock of the named stages.
    """

    def __init__(
        self,
        codec: WanCodec,
        step: Step,
        windows: Windows,
        size: tuple[int, int],
        *,
        latents_per_call: int,
        stage: Stage,
    ) -> None:
        self.encoder = WanEncoder(codec, size, latents_per_call)
        self.decoder = WanDecoder(codec, size, latents_per_call)
        self.windowed = WindowedStep(
            lambda latents: step_in_space(latents, step, windows),
            windows.latents,
            windows.overlap_latents,
        )
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


def timed(pieces: Iterable[Tensor], stage: Stage, name: str) -> Iterator[Tensor]:
    """The same pieces; making each one runs under the clock."""
    iterator = iter(pieces)
    while True:
        with stage(name):
            piece = next(iterator, None)
        if piece is None:
            return
        yield piece
