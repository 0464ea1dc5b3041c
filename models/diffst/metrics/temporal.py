"""How well a video moves: errors between neighbouring frames."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from diffst.metrics.psnr import check_planes

# Forward and backward flow agree where |f + b|^2 < 0.01 (|f|^2 + |b|^2) + 0.5 pixels^2.
# Source: Sundaram et al. 2010, "Dense point trajectories by GPU-accelerated large displacement optical flow"
CONSISTENCY_SLOPE = 0.01
CONSISTENCY_FLOOR = 0.5

# Farneback's flow and the compared area of tOF: sides cut to a multiple of 32, 8 pixels or more off each edge.
# Source: Chu et al. 2020, "Learning temporal coherence via self-supervision for GAN-based video
# generation", and `metrics.py` of its code
FARNEBACK = {
    "pyr_scale": 0.5,
    "levels": 3,
    "winsize": 15,
    "iterations": 3,
    "poly_n": 5,
    "poly_sigma": 1.2,
    "flags": 0,
}
FLOW_MARGIN = 16  # pixels, of both edges together
FLOW_MULTIPLE = 32  # pixels
MIN_FLOW_SIZE = FLOW_MARGIN + FLOW_MULTIPLE  # pixels each way


def frame_difference_error(output: Tensor, reference: Tensor) -> Tensor:
    """Mean of |(x[t] - x[t-1]) - (r[t] - r[t-1])| for each t >= 1, in 8-bit levels.

    A video that is wrong by the same amount in every frame scores 0; flicker and judder do not.

    Args:
        output: Planes as stored, (T, H, W) uint8.
        reference: The true planes, same shape and dtype.

    Returns:
        (T - 1,) float64.

    Raises:
        ValueError: Shapes differ, or the planes are not (T, H, W) uint8.
    """
    check_planes(output, reference)
    errors = []
    previous = None
    for mine, true in zip(output, reference, strict=True):
        error = mine.to(torch.int16) - true.to(torch.int16)
        if previous is not None:
            errors.append(float((error - previous).abs().mean(dtype=torch.float64)))
        previous = error
    return torch.tensor(errors, dtype=torch.float64)


def warping_error(videos: Sequence[Tensor], reference: Tensor) -> Tensor:
    """Mean of |x[t] - x[t-1] moved along the true motion| for each t >= 1, in 8-bit levels.

    The motion is DIS optical flow of the reference; pixels where its two directions disagree
    (occlusions) are left out. The reference's own value, not 0, is what a perfect video scores.

    Args:
        videos: Videos to judge, each (T, H, W) uint8; they share the one flow of the reference.
        reference: The true planes, same shape and dtype, at least 16 pixels each way.

    Returns:
        (len(videos), T - 1) float64; 0 for a pair of frames with no pixel that agrees.

    Raises:
        ValueError: Shapes differ, or the planes are not (T, H, W) uint8.
    """
    for video in videos:
        check_planes(video, reference)
    errors = torch.zeros(len(videos), max(len(reference) - 1, 0), dtype=torch.float64)
    for t in range(1, len(reference)):
        flow, visible = backward_flow(reference[t - 1], reference[t])
        if visible.any():
            moved = warp(torch.stack([video[t - 1] for video in videos]).float(), flow)
            change = (torch.stack([video[t] for video in videos]) - moved).abs()
            errors[:, t - 1] = change[:, visible].mean(1, dtype=torch.float64)
    return errors


def flow_error(output: Tensor, reference: Tensor) -> Tensor:
    """tOF: how far the motion of each t >= 1 is from the true motion, in pixels, mean length.

    Both motions are Farneback's optical flow from the frame before, each of its own video.

    Args:
        output: Planes as stored, (T, H, W) uint8, at least 48 pixels each way.
        reference: The true planes, same shape and dtype.

    Returns:
        (T - 1,) float64, 0 for identical videos.

    Raises:
        ValueError: Shapes differ, not (T, H, W) uint8, or too small.
    """
    check_planes(output, reference)
    if min(output.shape[-2:]) < MIN_FLOW_SIZE:
        raise ValueError(f"tOF needs {MIN_FLOW_SIZE} pixels each way, got {tuple(output.shape)}")
    rows, columns = (_flow_area(length) for length in output.shape[-2:])
    errors = []
    for t in range(1, len(output)):
        mine = _farneback_flow(output[t - 1], output[t])
        true = _farneback_flow(reference[t - 1], reference[t])
        difference = (mine - true)[rows, columns]
        errors.append(float(difference.square().sum(-1).sqrt().mean(dtype=torch.float64)))
    return torch.tensor(errors, dtype=torch.float64)


def _flow_area(length: int) -> slice:
    """The middle of a side that tOF compares."""
    kept = (length - FLOW_MARGIN) // FLOW_MULTIPLE * FLOW_MULTIPLE
    start = (length - kept) // 2
    return slice(start, start + kept)


def backward_flow(earlier: Tensor, later: Tensor) -> tuple[Tensor, Tensor]:
    """Where each pixel of `later` was in `earlier`, and where that is trustworthy.

    Args:
        earlier: (H, W) uint8.
        later: (H, W) uint8.

    Returns:
        Flow (2, H, W) float32 in pixels, x first; mask (H, W) bool, True where the pixel comes
        from inside `earlier` and the forward flow leads back to it.
    """
    back, forth = _dis_flow(later, earlier), _dis_flow(earlier, later)
    returned = warp(forth, back)
    gap = (back + returned).square().sum(0)
    size = back.square().sum(0) + returned.square().sum(0)
    visible = (gap < CONSISTENCY_SLOPE * size + CONSISTENCY_FLOOR) & _inside(back)
    return back, visible


def warp(planes: Tensor, flow: Tensor) -> Tensor:
    """`planes` (C, H, W) float, sampled at each pixel's position plus `flow` (2, H, W), bilinear."""
    height, width = planes.shape[-2:]
    x, y = _positions(flow)
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    return functional.grid_sample(
        planes[None], grid[None], mode="bilinear", padding_mode="border", align_corners=False
    )[0]


def _positions(flow: Tensor) -> tuple[Tensor, Tensor]:
    """Columns and rows, (H, W) float each, that the flow points at."""
    _, height, width = flow.shape
    columns = torch.arange(width, dtype=flow.dtype)
    rows = torch.arange(height, dtype=flow.dtype)
    return flow[0] + columns, flow[1] + rows[:, None]


def _inside(flow: Tensor) -> Tensor:
    """True where the flow points at a place inside the picture, (H, W) bool."""
    _, height, width = flow.shape
    x, y = _positions(flow)
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def _dis_flow(source: Tensor, target: Tensor) -> Tensor:
    """DIS optical flow from `source` to `target` ((H, W) uint8), (2, H, W) float32, x first."""
    import cv2  # heavy, and only this metric needs it

    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow = finder.calc(np.ascontiguousarray(source), np.ascontiguousarray(target), None)
    return torch.from_numpy(flow).permute(2, 0, 1).contiguous()


def _farneback_flow(source: Tensor, target: Tensor) -> Tensor:
    """Farneback's optical flow from `source` to `target` ((H, W) uint8), (H, W, 2) float32, x first."""
    import cv2

    flow = cv2.calcOpticalFlowFarneback(
        np.ascontiguousarray(source), np.ascontiguousarray(target), None, **FARNEBACK
    )
    return torch.from_numpy(flow)
