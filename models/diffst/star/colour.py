"""Colours of the result brought back to those of the input, which diffusion drifts away from."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

COLOUR_FIXES = ("adain", "wavelet", "none")
LEAST_VARIANCE = 1e-5  # added, so that a plain frame does not divide by 0
NUM_LEVELS = 5  # of the wavelet; the coarsest blur reaches 31 pixels each way


def check_method(method: str) -> None:
    """Raise ValueError where there is no such method."""
    if method not in COLOUR_FIXES:
        raise ValueError(f"colour fix `{method}` is not one of {', '.join(COLOUR_FIXES)}")


def fix_colours(pictures: Tensor, originals: Tensor, method: str) -> Tensor:
    """Give pictures the colours of the originals.

    Args:
        pictures: (N, 3, H, W) float in [0, 1].
        originals: (N, 3, h, w) float in [0, 1], of any size.
        method: One of COLOUR_FIXES; "none" changes nothing.

    Returns:
        (N, 3, H, W) in [0, 1].

    Raises:
        ValueError: There is no such method.
    """
    check_method(method)
    if method == "none":
        return pictures
    if method == "adain":
        return match_statistics(pictures, originals)
    size = pictures.shape[-2:]
    large = F.interpolate(originals, size=size, mode="bilinear", align_corners=False)
    return match_low_frequencies(pictures, large)


def match_statistics(pictures: Tensor, originals: Tensor) -> Tensor:
    """Each frame's and channel's mean and standard deviation become the original's.

    Source: adaptive instance normalisation, Huang and Belongie 2017 (arXiv 1703.06868).
    """
    spreads, means = [], []
    for frames in (pictures, originals):
        spreads.append((frames.var((-2, -1), keepdim=True) + LEAST_VARIANCE).sqrt())
        means.append(frames.mean((-2, -1), keepdim=True))
    matched = (pictures - means[0]) / spreads[0] * spreads[1] + means[1]
    return matched.clamp(0, 1)


def match_low_frequencies(pictures: Tensor, originals: Tensor) -> Tensor:
    """The pictures' detail on the originals' blur; both (N, 3, H, W)."""
    return (pictures - blur(pictures) + blur(originals)).clamp(0, 1)


def blur(pictures: Tensor) -> Tensor:
    """(N, C, H, W) without what an undecimated ("a trous") wavelet calls detail."""
    row = torch.tensor([0.25, 0.5, 0.25], dtype=pictures.dtype, device=pictures.device)
    channels = pictures.shape[1]
    kernel = torch.outer(row, row).expand(channels, 1, 3, 3)
    for level in range(NUM_LEVELS):
        reach = 2**level
        padded = F.pad(pictures, (reach, reach, reach, reach), mode="replicate")
        pictures = F.conv2d(padded, kernel, groups=channels, dilation=reach)
    return pictures
