"""How well a pipeline does during a training: the metrics of `diffst evaluate`, on windows that stay the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor

from diffst import metrics
from diffst.metrics.temporal import MIN_FLOW_SIZE
from diffst.training import losses
from diffst.training.windows import Batch
from diffst.wan.pipeline import DiffSTWanPipeline
from diffst.wan.training.clips import ClipBatch
from diffst.wan.training.data import StepData
from diffst.wan.training.stages import asked_instants

LUMA_RANGE = (16, 219)  # of 8-bit video as files hold it, and as `evaluate` measures it
Figures = dict[str, float]
Values = dict[str, list[float]]


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What was measured, and one window to look at."""

    figures: Figures
    """Means over frames: PSNR in dB and SSIM of kept and of new frames, of kept ones enlarged, and of their motion."""
    enlarged: Tensor
    """Kept frames of the first window, bicubic, a new instant shows the one before; (T, 3, H, W) uint8."""
    made: Tensor
    """The pipeline's frames of it, same shape and type."""
    true: Tensor
    """The true frames, same shape and type."""


def validate(pipeline: DiffSTWanPipeline, data: StepData, num_windows: int) -> Validation:
    """Run a pipeline as it is used on the first windows of some data.

    Args:
        pipeline: On the device to run on.
        data: One window a batch.
        num_windows: Windows, at least 1.
    """
    values: Values = {}
    shown: list[tuple[Tensor, Tensor, Tensor]] = []
    batches = data.batches(first_step=0, process=0, num_processes=1)
    for batch in islice(batches, num_windows):
        pictures = run_window(pipeline, batch)
        shown = shown or [pictures]
        kept = [alpha == 0 for _, alpha in asked_instants(batch)]
        measured = measure(*pictures, kept=kept, true_motion=bool(batch.interpolate[0]))
        for name, numbers in measured.items():
            values.setdefault(name, []).extend(numbers)
    figures = {name: sum(numbers) / len(numbers) for name, numbers in values.items() if numbers}
    enlarged, made, true = shown[0]
    return Validation(figures=figures, enlarged=enlarged, made=made, true=true)


def run_window(
    pipeline: DiffSTWanPipeline, batch: Batch | ClipBatch
) -> tuple[Tensor, Tensor, Tensor]:
    """Kept frames made larger, frames made by the pipeline, and true frames, (T, 3, H, W) uint8 each, on the CPU."""
    keyframes, true = batch.keyframes[0], batch.targets[0]
    asked = asked_instants(batch)
    size = (true.shape[-2], true.shape[-1])
    made = pipeline(keyframes.to(pipeline.device), asked, size, output_type=torch.uint8).cpu()
    before = sorted({number for number, _ in asked})
    given = keyframes[before].float()
    large = F.interpolate(given, size=size, mode="bicubic").clamp(0, 255).round().to(torch.uint8)
    return large[[before.index(number) for number, _ in asked]], made, true


def measure(
    enlarged: Tensor, made: Tensor, true: Tensor, *, kept: Sequence[bool], true_motion: bool
) -> Values:
    """Values of each metric of `diffst.metrics`, by frame; new frames and motion only where the true motion is known.

    Args:
        enlarged: (T, 3, H, W) uint8, what is to be beaten on kept frames.
        made: Same shape.
        true: Same shape.
        kept: Which of the T frames were not dropped.
        true_motion: Whether the others of `true` count.
    """
    plain, luma, true_luma = to_luma(enlarged), to_luma(made), to_luma(true)
    known = torch.tensor(kept)
    new = ~known
    values = {
        "kept_psnr_y": metrics.psnr(luma[known], true_luma[known]),
        "kept_psnr_y_bicubic": metrics.psnr(plain[known], true_luma[known]),
        "kept_ssim": metrics.ssim(luma[known], true_luma[known]),
    }
    if true_motion and len(true) > 1:
        mine, own = metrics.warping_error([luma, true_luma], true_luma)
        values |= {
            "new_psnr_y": metrics.psnr(luma[new], true_luma[new]),
            "new_ssim": metrics.ssim(luma[new], true_luma[new]),
            "frame_difference": metrics.frame_difference_error(luma, true_luma),
            "warping": mine,
            "true_warping": own,
        }
        if min(luma.shape[1:]) >= MIN_FLOW_SIZE:  # not defined below; the other metrics are
            values["tof"] = metrics.flow_error(luma, true_luma)
    return {name: value.tolist() for name, value in values.items()}


def to_luma(frames: Tensor) -> Tensor:
    """(T, 3, H, W) uint8 RGB -> (T, H, W) uint8 BT.709 luma in video's range, 16..235."""
    low, span = LUMA_RANGE
    luma = losses.to_ycbcr(frames.float() / 255)[:, 0]
    return (low + span * luma).round().to(torch.uint8)
