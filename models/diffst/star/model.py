"""What both kinds of STAR are to the tool: frames between keyframes by CFCA first, then all of them enlarged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from torch import Tensor

from diffst.cfca import CFCA
from diffst.given import check_order, frames_given, instants_asked
from diffst.offload import Offload
from diffst.pipeline import OnProgress, OnStage, stage_clock, unwatched
from diffst.pixels import as_float
from diffst.star.new_frames import frames_at
from diffst.upscaler import ModelRules

OVERLAP_KEYFRAMES = 4  # of neighbouring clips; what both make of them is crossfaded

Settings = TypeVar("Settings")


class SamplingModel(Generic[Settings]):
    """A pipeline that samples, with what it does not have itself: new frames, and the prompt's states.

    Args:
        name: Shown to the user.
        rules: How clips are cut.
        pipeline: Moved to the device; called as `StarPipeline` is.
        cfca: Makes the frames between keyframes; moved too.
        text: States of what the pipeline is told in words; None for nothing.
        settings: How to sample.
        device: To run on.
    """

    def __init__(
        self,
        name: str,
        rules: ModelRules,
        pipeline: DiffusionPipeline,
        cfca: CFCA,
        text: Tensor | None,
        settings: Settings,
        device: torch.device,
    ) -> None:
        self.name = name
        self.rules = rules
        self.pipeline: Any = pipeline.to(device, silence_dtype_warnings=True)
        self.cfca = cfca.to(device)
        self.text = text
        self.settings = settings
        self.device = device
        self.offload = Offload(self.pipeline, device)
        self.on_progress: OnProgress = unwatched

    def watch(self, on_progress: OnProgress) -> None:
        """See `WatchedModel`."""
        self.on_progress = on_progress

    @torch.no_grad()
    def __call__(
        self,
        frames: Tensor,
        instants: Sequence[tuple[int, float]],
        out_size: tuple[int, int],
        on_stage: OnStage | None = None,
        first_keyframe: int = 0,
    ) -> Tensor:
        """See `UpscaleModel`; the first keyframe's number decides which noise the frames get."""
        given = frames_given(frames).to(self.device)
        instants = instants_asked(instants, len(given))
        check_order(instants)
        stage = stage_clock(on_stage, self.device)
        # 1. The frame of each instant, still small.
        with stage("cfca"):
            small = frames_at(self.cfca, as_float(given), instants)
        # 2. Large ones.
        made: Tensor = self.pipeline(
            small,
            out_size,
            self.text,
            self.settings,
            positions=[(first_keyframe + keyframe, alpha) for keyframe, alpha in instants],
            output_type=given.dtype,
            on_stage=on_stage,
            on_progress=self.on_progress,
        )
        return made
