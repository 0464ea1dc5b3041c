"""A model quick enough for tests of what is around it."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from diffst.pipeline import OnStage
from diffst.pixels import to_float, to_integer
from diffst.upscaler import ModelRules


class BilinearModel:
    """Bilinear enlargement; new frames are mixes of their two neighbours."""

    name = "bilinear"

    def __init__(self, *, clip: int = 4, overlap: int = 1, context: int = 1) -> None:
        self.rules = ModelRules(
            clip_keyframes=clip,
            overlap_keyframes=overlap,
            context_keyframes=context,
        )

    def __call__(
        self,
        frames: Tensor,
        instants: Sequence[tuple[int, float]],
        out_size: tuple[int, int],
        on_stage: OnStage | None = None,
        first_keyframe: int = 0,
    ) -> Tensor:
        given = to_float(frames)
        mixed = [
            given[keyframe]
            if alpha == 0
            else torch.lerp(given[keyframe], given[keyframe + 1], alpha)
            for keyframe, alpha in instants
        ]
        large = F.interpolate(torch.stack(mixed), size=out_size, mode="bilinear", antialias=True)
        if on_stage is not None:
            on_stage("decode", 0.001)
        return to_integer(large, frames.dtype)
