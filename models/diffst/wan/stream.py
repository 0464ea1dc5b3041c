"""One shot through codec and transformer, handed over in pieces of any length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from diffst.wan.codec import WanCodec, WanEncoder
from diffst.wan.tiles import VaeTiles, decode_tiled, encode_tiled
from diffst.wan.windows import Step, WindowedStep, Windows, step_in_space

Stage = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True, kw_only=True)
class Cuts:
    """How a job is cut to fit the machine. Planned anew for each; nothing of it is saved."""

    windows: Windows = field(default_factory=Windows)
    """For the transformer."""
    latents_per_call: int = 1
    """That the VAE takes at once; more need more memory, the result is the same to rounding."""
    vae_tiles: VaeTiles | None = None
    """For the VAE; None gives it whole pictures, which is exact and lets frames out before the clip is through."""


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

    Args:
        codec: The VAE.
        step: The one step on (T, C, h, w) latents that see each other.
        cuts: With `vae_tiles`.
        size: Output height and width.
        stage: Clock of the named stages.

    Raises:
        ValueError: There are no tiles in `cuts`.
    """

    def __init__(
        self, codec: WanCodec, step: Step, cuts: Cuts, size: tuple[int, int], *, stage: Stage
    ) -> None:
        if cuts.vae_tiles is None:
            raise ValueError("a tiled shot needs `vae_tiles`")
        self.codec = codec
        self.windowed = in_windows(step, cuts.windows)
        self.vae = (size, cuts.vae_tiles, cuts.latents_per_call)
        self.stage = stage
        self.given: list[Tensor] = []

    def feed(self, frames: Tensor) -> Iterator[Tensor]:
        """Keep these frames, (T, 3, H, W) in [0, 1]; nothing comes out yet."""
        self.given.append(frames)
        yield from ()

    def finish(self) -> Iterator[Tensor]:
        """All frames, (T, 3, height, width) float32, not clamped, in the host's memory."""
        if not self.given:
            return
        frames, self.given = torch.cat(self.given), []
        with self.stage("encode"):
            latents = encode_tiled(self.codec, frames, *self.vae)
        with self.stage("dit"):
            latents = torch.cat([*self.windowed.feed(latents), *self.windowed.finish()])
        with self.stage("decode"):
            made = decode_tiled(self.codec, latents, *self.vae)
        yield made[: len(frames)]


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
