"""One shot through codec and transformer, handed over in pieces of any length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from diffst.pipeline import OnProgress, unwatched
from diffst.transfers import to_device
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

    Between the stages the whole shot waits in main memory; the device never holds more than one tile's or one window's
    part of it, however long it is.

    Args:
        codec: The VAE.
        step: The one step on (T, C, h, w) latents that see each other.
        cuts: With `vae_tiles`; asked for at each stage.
        size: Output height and width.
        stage: Clock of the named stages.
        kept: What pictures are kept in until all tiles are through; half precision is enough for 8 bits.
        on_progress: Told after each tile and each window, for a shot may take long.
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
    ) -> None:
        self.codec = codec
        self.step = step
        self.cuts = cuts
        self.size = size
        self.stage = stage
        self.kept = kept
        self.on_progress = on_progress
        self.device = torch.device("cpu")
        self.num_in = 0
        # What is there after each stage, until the next one is through.
        self.given: list[Tensor] = []
        self.encoded: Tensor | None = None
        self.stepped: Tensor | None = None

    def feed(self, frames: Tensor) -> Iterator[Tensor]:
        """Keep these frames, (T, 3, H, W) in [0, 1]; nothing comes out yet."""
        self.device = frames.device
        self.num_in += len(frames)
        self.given.append(frames.cpu())
        yield from ()

    def finish(self) -> Iterator[Tensor]:
        """All frames, (T, 3, height, width) of `kept`, not clamped, in main memory.

        Where a stage ran out of memory, another call goes on with that stage, in the cuts that hold by then.

        Raises:
            ValueError: There are no tiles in the cuts.
        """
        if self.given:
            with self.stage("encode"):
                self.encoded = encode_tiled(self.codec, self.given, self.size, **self.vae())
            self.given = []
        if self.encoded is not None:
            with self.stage("dit"):
                self.stepped = self.in_windows(self.encoded)
            self.encoded = None
        if self.stepped is None:
            return
        with self.stage("decode"):
            made = decode_tiled(self.codec, self.stepped, self.size, **self.vae(), kept=self.kept)
        self.stepped = None
        while made:
            frames = made.pop(0)[: self.num_in]
            self.num_in -= len(frames)
            yield frames

    def vae(self) -> dict[str, Any]:
        """How the VAE works: options of `encode_tiled` and `decode_tiled`."""
        cuts = self.cuts()
        if cuts.vae_tiles is None:
            raise ValueError("a tiled shot needs `vae_tiles`")
        return {
            "tiles": cuts.vae_tiles,
            "device": self.device,
            "latents_per_call": cuts.latents_per_call,
            "on_progress": self.on_progress,
        }

    def in_windows(self, latents: Tensor) -> Tensor:
        """The step on all latents of the shot, (T, C, h, w), from main memory and back."""
        windows = self.cuts().windows
        windowed = in_windows(self.step, windows)
        stepped: list[Tensor] = []
        for some in latents.split(windows.latents):
            stepped += (piece.cpu() for piece in windowed.feed(to_device(some, self.device)))
            self.on_progress("latents", sum(map(len, stepped)), len(latents))
        stepped += (piece.cpu() for piece in windowed.finish())
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
