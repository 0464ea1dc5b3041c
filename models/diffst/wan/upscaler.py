"""A DiffST pipeline of Wan's size as the tool sees it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import torch
from torch import Tensor

from diffst.attempts import Attempt, plainly
from diffst.given import frames_given, instants_asked
from diffst.limits import Limits
from diffst.offload import Offload
from diffst.pipeline import OnProgress, OnStage, unwatched
from diffst.pixels import in_range
from diffst.reach import CONTEXT_KEYFRAMES
from diffst.transfers import HostCopies, to_device
from diffst.upscaler import ModelRules
from diffst.wan.cuts import Cuts, VaeTiles
from diffst.wan.levers import Levers, pull
from diffst.wan.pipeline import DiffSTWanPipeline
from diffst.wan.shot import Shot
from diffst.wan.sizes import TILE_OVERLAP, TIME_STRIDE
from diffst.wan.windows import OVERLAP_LATENTS, Windows

NO_WEIGHTS = (
    "it has no trained DiffST weights, and nobody has published any of this size; "
    "use `nano`, which is built in, or `star-light`, or give the folder of a pipeline that you trained"
)
RULES = ModelRules(clip_keyframes=33, overlap_keyframes=4, context_keyframes=CONTEXT_KEYFRAMES)


class WanUpscaler:
    """Takes over a pipeline, pulls the exact levers and moves it to the device."""

    def __init__(self, name: str, pipeline: DiffSTWanPipeline, device: torch.device) -> None:
        """See the class.

        Raises:
            ValueError: The pipeline was not trained: what it makes is no enlargement of what it is given.
        """
        if not pipeline.config.trained:
            raise ValueError(NO_WEIGHTS)
        self.name = name
        self.rules = RULES
        self.device = device
        pull(pipeline, Levers.exact())
        self.pipeline = pipeline.to(device)
        self.offload = Offload(self.pipeline, device)
        self.clips_alone = False
        self.on_progress: OnProgress = unwatched

    def keep_within(self, limits: Limits) -> None:
        """See `LimitedModel`; a tile is what the VAE sees of a picture."""
        window = self.pipeline.config.window_latents
        if limits.window_frames is not None:
            window = 1 + -(-(limits.window_frames - 1) // TIME_STRIDE)
        self.pipeline.cuts = Cuts(
            windows=Windows(latents=window, overlap_latents=min(OVERLAP_LATENTS, window - 1)),
            latents_per_call=limits.latents_per_call or 1,
            vae_tiles=None
            if limits.tile is None
            else VaeTiles(side=limits.tile, overlap=TILE_OVERLAP),
        )
        self.clips_alone = limits.clips_alone
        self.offload(wanted=limits.offload)

    def watch(self, on_progress: OnProgress) -> None:
        """See `WatchedModel`; told in tiles alone, where all pictures of a shot come at its end."""
        self.on_progress = on_progress

    def begin_shot(
        self,
        out_size: tuple[int, int],
        on_stage: OnStage | None = None,
        attempt: Attempt = plainly,
    ) -> WanShot | None:
        """See `StreamingModel`; attempts are as small as a call of the VAE, a window, or in tiles a clip of a tile."""
        if self.clips_alone:
            return None
        shot = self.pipeline.shot(out_size, on_stage, self.on_progress, attempt)
        return WanShot(shot, self.device)

    def __call__(
        self,
        frames: Tensor,
        instants: Sequence[tuple[int, float]],
        out_size: tuple[int, int],
        on_stage: OnStage | None = None,
        first_keyframe: int = 0,  # noqa: ARG002  (nothing here is random)
    ) -> Tensor:
        """See `UpscaleModel`."""
        frames = frames_given(frames)
        instants = instants_asked(instants, len(frames))
        shot = WanShot(self.pipeline.shot(out_size, on_stage, self.on_progress), self.device)
        return torch.cat([*shot.feed(frames, instants), *shot.finish()])


class WanShot:
    """A shot whose pictures come back to main memory in the type of its frames, while the next ones are made."""

    def __init__(self, shot: Shot, device: torch.device) -> None:
        self.shot = shot
        self.device = device
        self.copies = HostCopies(device)
        self.kind = torch.uint8

    def feed(self, frames: Tensor, instants: Sequence[tuple[int, float]]) -> list[Tensor]:
        """See `StreamedShot`."""
        known = frames_given(frames)
        self.kind = known.dtype
        given = self.shot.made(lambda: to_device(known, self.device))
        return self.on_host(self.shot.feed(given, instants))

    def finish(self) -> list[Tensor]:
        """See `StreamedShot`."""
        return self.on_host(self.shot.finish())

    def on_host(self, made: Iterable[Tensor]) -> list[Tensor]:
        """Pictures of the type of the frames that came last, all whole."""
        copies = [self.shot.made(partial(self.copy, pictures)) for pictures in made]
        self.copies.wait()
        return copies

    def copy(self, pictures: Tensor) -> Tensor:
        """Finished pictures as what is given out, on their way to main memory."""
        return self.copies.start(in_range(pictures, self.kind))
