"""A DiffST pipeline of Wan's size as the tool sees it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from diffst.pipeline import OnStage
from diffst.pixels import to_float
from diffst.upscaler import ModelRules
from diffst.wan.pipeline import DiffSTWanPipeline

NAME = "wan-1.3b"
NO_WEIGHTS = (
    "it has no trained DiffST weights, and nobody has published any of this size; "
    "use `nano`, which is built in, or STAR, or give the folder of a pipeline that you trained"
)


class WanUpscaler:
    """Takes over a pipeline and moves it to the device."""

    def __init__(self, name: str, pipeline: DiffSTWanPipeline, device: torch.device) -> None:
        """See the class.

        Raises:
            ValueError: The pipeline was not trained: what it makes is no enlargement of what it is given.
        """
        if not pipeline.config.trained:
            raise ValueError(NO_WEIGHTS)
        self.name = name
        self.rules = ModelRules(clip_keyframes=33, overlap_keyframes=4, context_keyframes=2)
        self.device = device
        self.pipeline = pipeline.to(device)

    def __call__(
        self,
        frames: Tensor,
        instants: Sequence[tuple[int, float]],
        out_size: tuple[int, int],
        on_stage: OnStage | None = None,
        first_keyframe: int = 0,  # noqa: ARG002  (nothing here is random)
    ) -> Tensor:
        """See `UpscaleModel`."""
        given = to_float(frames.to(self.device))
        made: Tensor = self.pipeline(
            given, instants, out_size, output_type=frames.dtype, on_stage=on_stage
        )
        return made.cpu()
