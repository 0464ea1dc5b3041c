"""Colours of the result brought back to those of the input, which diffusion drifts away from."""

from __future__ import annotations

from torch import Tensor

LEAST_VARIANCE = 1e-5  # added, so that a plain frame does not divide by 0


def match_statistics(pictures: Tensor, originals: Tensor) -> Tensor:
    """Give each frame and channel the original's mean and standard deviation.

    Source: adaptive instance normalisation, Huang and Belongie 2017 (arXiv 1703.06868).

    Args:
        pictures: (N, 3, H, W) float in [0, 1].
        originals: (N, 3, h, w) float in [0, 1], of any size.

    Returns:
        (N, 3, H, W) in [0, 1].
    """
    spreads, means = [], []
    for frames in (pictures, originals):
        spreads.append((frames.var((-2, -1), keepdim=True) + LEAST_VARIANCE).sqrt())
        means.append(frames.mean((-2, -1), keepdim=True))
    matched = (pictures - means[0]) / spreads[0] * spreads[1] + means[1]
    return matched.clamp(0, 1)
