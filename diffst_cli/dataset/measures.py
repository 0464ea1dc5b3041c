"""What decides whether a run of frames is worth learning from: detail, motion, repeated frames, their times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from diffst.flow import dis_flow

Grey = npt.NDArray[np.uint8]

BLOCK = 32  # pixels; detail is judged where there is most of it, so that a soft background does not count
BLOCK_SHARE = 0.25
OCTAVES = 3
LEAST_DETAIL = 0.3  # of 255; less is the rounding to whole numbers
MOTION_WIDTH = 320  # pixels, of the pictures that motion is measured in
REPEAT_SHARE = (
    0.1  # of the larger changes of the run; a frame that changes less repeats the one before
)
LARGE_CHANGES = 75  # percentile that stands for them
UNEVEN_SHARE = 0.5  # of a frame's time; more off than that is uneven


@dataclass(frozen=True, kw_only=True)
class FrameFacts:
    """What is kept of one frame of a video."""

    time: Fraction
    """When it is shown, in seconds."""
    change: float
    """Mean difference to the frame before, of 255; 0 of the first."""
    sharpness: float | None
    """As `sharpness` gives it; None where it was not measured."""
    motion: float | None
    """To the frame before, in percent of the width; None where it was not measured."""


def sharpness(grey: Grey) -> float:
    """How much detail the finest octave has, or the next one if that is less, as a share of the one below.

    About 0.5 to 1 for pictures as a camera gives them, whatever they show; 0.2 to 0.4 where a picture was enlarged two
    or four times or is out of focus everywhere, for then there is nothing new at its own size. 0 where there is nothing
    at all. Enlarged by less than two it cannot be told from a soft lens.
    """
    if min(grey.shape) < 2 * BLOCK:
        return 0.0
    sizes = [grey]
    for _ in range(OCTAVES - 1):
        height, width = (side // 2 for side in sizes[-1].shape)
        if min(height, width) < BLOCK:
            break  # a small picture has fewer
        sizes.append(cv2.resize(sizes[-1], (width, height), interpolation=cv2.INTER_AREA))
    details = [detail(size) for size in sizes]
    if min(details) < LEAST_DETAIL:
        return 0.0
    return min(fine / coarse for fine, coarse in pairwise(details))


def detail(grey: Grey) -> float:
    """What would be lost at half the size, of 255, in the quarter of the picture that has most of it."""
    height, width = (side // BLOCK * BLOCK for side in grey.shape)
    whole = grey[:height, :width]
    small = cv2.resize(whole, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    lost = whole.astype(np.float32) - cv2.resize(
        small, (width, height), interpolation=cv2.INTER_CUBIC
    )
    blocks = cv2.resize(lost**2, (width // BLOCK, height // BLOCK), interpolation=cv2.INTER_AREA)
    most = np.sort(blocks, axis=None)[::-1][: max(1, round(BLOCK_SHARE * blocks.size))]
    return float(np.sqrt(most.mean()))


def motion(before: Grey, after: Grey) -> float:
    """Mean length of the optical flow, in percent of the width."""
    flow = dis_flow(before, after)
    return float(100 * np.hypot(flow[..., 0], flow[..., 1]).mean() / before.shape[1])


def repeats(changes: Sequence[float]) -> float:
    """Share of frames that repeat the one before, given how much each changes; 0 where nothing moves."""
    values = np.array(changes)
    large = np.percentile(values, LARGE_CHANGES) if len(values) else 0.0
    return float((values < REPEAT_SHARE * large).mean()) if large else 0.0


def unevenness(times: Sequence[Fraction]) -> float:
    """Share of frames whose distance in time from the one before is not the usual one."""
    gaps = np.diff(np.array([float(time) for time in times]))
    usual = float(np.median(gaps)) if len(gaps) else 0.0
    return float((np.abs(gaps - usual) > UNEVEN_SHARE * usual).mean()) if len(gaps) else 0.0
