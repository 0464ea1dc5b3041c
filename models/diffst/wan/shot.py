"""One shot through a pipeline of Wan's size, handed over clip by clip."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffst.attempts import Attempt, Made, plainly, until_made
from diffst.cfca import Instants
from diffst.given import check_order, frames_given, instants_given, size_given
from diffst.neighbourhood import ClipMotion
from diffst.pipeline import OnProgress, OnStage, stage_clock, unwatched
from diffst.wan.stream import ShotStream

if TYPE_CHECKING:
    from diffst.wan.pipeline import DiffSTWanPipeline

FRAMES_FROM_CFCA = 8  # aggregated together; low resolution, so the number hardly matters


class Shot:
    """Makes the instants of one shot, in device memory that does not grow with its length.

    Codec and transformer go on from clip to clip as if the shot were one clip; the guidance is that of the first. With
    tiles all pictures come at the end, and wait in main memory for it. Where memory runs out, the piece of work at hand
    alone is made again.

    Args:
        pipeline: Not changed.
        size: Output height and width.
        on_stage: Told the name of each finished stage and the seconds it took.
        on_progress: Told how far a shot in tiles is.
        attempt: Each part of the work is one.
    """

    def __init__(
        self,
        pipeline: DiffSTWanPipeline,
        size: tuple[int, int],
        on_stage: OnStage | None = None,
        on_progress: OnProgress = unwatched,
        attempt: Attempt = plainly,
    ) -> None:
        self.pipeline = pipeline
        self.size = size_given(size)
        self.on_stage = on_stage
        self.on_progress = on_progress
        self.attempt = attempt
        self.stream: ShotStream | None = None

    def made(self, work: Callable[[], Made]) -> Made:
        """What a part of the work makes, however often memory runs out before."""
        return until_made(self.attempt, work)

    @torch.no_grad()
    def feed(self, frames: Tensor, instants: Instants) -> Iterator[Tensor]:
        """Pictures that are finished with the next instants; they lag behind by up to a window.

        Args:
            frames: (T, 3, H, W) float in [0, 1], uint8 or uint16: the keyframes around these instants.
            instants: Those that follow the ones given before, in order of time; positions in `frames`.

        Yields:
            (T', 3, height, width) float32, not clamped; with tiles and frames of 8 bits float16.

        Raises:
            TypeError: The frames are no tensor.
            ValueError: An instant lies outside the clip or before the last one; or frames are of another type or shape,
                or there are none.
        """
        frames = frames_given(frames)
        instants = instants_given(instants, len(frames))
        check_order(instants)
        stage = stage_clock(self.on_stage, frames.device)
        if self.stream is None:
            # 1. What kind of video is this.
            with stage("vrg"):
                guidance = self.made(lambda: self.pipeline.guidance(frames.unsqueeze(0)))
            kept = torch.float16 if frames.dtype == torch.uint8 else torch.float32
            self.stream = self.pipeline.stream(
                self.size, guidance, stage, kept, self.on_progress, self.attempt
            )
        motion = ClipMotion(frames)
        for start in range(0, len(instants), FRAMES_FROM_CFCA):
            # 2. Bring keyframes along the motion to each instant and fuse them, at low resolution.
            with stage("cfca"):
                some = instants[start : start + FRAMES_FROM_CFCA]
                aggregated = self.made(partial(self.aggregated, motion, some))
            # 3. Enlarge, encode, the one step, decode: as far as these frames allow.
            yield from self.stream.feed(aggregated)

    def aggregated(self, motion: ClipMotion, instants: Instants) -> Tensor:
        """The frames of some instants at low resolution, (I, 3, H, W) in [0, 1]."""
        around = motion.around(instants)
        height, width = around.frames.shape[-2:]
        return around.aggregate(self.pipeline.cfca, (slice(0, height), slice(0, width)))

    @torch.no_grad()
    def finish(self) -> Iterator[Tensor]:
        """The rest: as many pictures come out in all as instants went in."""
        if self.stream is not None:
            yield from self.stream.finish()
