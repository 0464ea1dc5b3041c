"""Frames between keyframes for a model that makes none itself: CFCA's, at low resolution."""

from __future__ import annotations

import torch
from torch import Tensor

from diffst.cfca import CFCA, Instants, check_instants
from diffst.neighbourhood import ClipMotion

GROUP_FRAMES = 4  # made at once


def frames_at(cfca: CFCA, frames: Tensor, instants: Instants) -> Tensor:
    """The frame of each instant, at the keyframes' size; keyframes themselves where alpha is 0.

    Args:
        cfca: Trained.
        frames: (T, 3, H, W) float32 in [0, 1].
        instants: Keyframe n and alpha in [0, 1) of each, in order of time.

    Returns:
        (len(instants), 3, H, W) float32 in [0, 1].

    Raises:
        ValueError: An instant lies outside the clip.
    """
    check_instants(instants, len(frames))
    made = frames[[keyframe for keyframe, _ in instants]]
    new = [i for i, (_, alpha) in enumerate(instants) if alpha > 0]
    whole = (slice(0, frames.shape[-2]), slice(0, frames.shape[-1]))
    motion = ClipMotion(frames)
    for start in range(0, len(new), GROUP_FRAMES):
        group = new[start : start + GROUP_FRAMES]
        around = motion.around([instants[i] for i in group])
        made[torch.tensor(group)] = around.aggregate(cfca, whole)
    return made
