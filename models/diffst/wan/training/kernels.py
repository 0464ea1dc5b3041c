"""Blur kernels of second-order degradation: Gaussian, generalised, plateau and sinc, square and summing to 1.

Source: Real-ESRGAN (arXiv 2107.10833), section 3.1 and its appendix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

Shape = Literal["gaussian", "generalised", "plateau", "sinc"]


@dataclass(frozen=True, kw_only=True)
class Blur:
    """One blur; `kernel` needs nothing else."""

    shape: Shape
    size: int
    """Side of the kernel in pixels, odd."""
    sigmas: tuple[float, float] = (0.0, 0.0)
    """Along the two axes, in pixels; of all but sinc."""
    angle: float = 0.0
    """Turn of the first axis from horizontal, in radians."""
    beta: float = 1.0
    """Exponent of generalised and plateau."""
    cutoff: float = 0.0
    """Of sinc, in radians a pixel, up to pi."""


def kernel(blur: Blur) -> NDArray[np.float32]:
    """The kernel, (size, size), summing to 1.

    With q the squared distance in units of the two sigmas: exp(-q / 2) for gaussian, exp(-q^beta / 2) for generalised,
    1 / (1 + q^beta) for plateau; sinc is the ideal circular low pass c J1(c r) / (2 pi r).
    """
    radius = blur.size // 2
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float64)
    weights = _low_pass(np.hypot(x, y), blur.cutoff) if blur.shape == "sinc" else _bell(x, y, blur)
    weights /= weights.sum()
    single: NDArray[np.float32] = weights.astype(np.float32)
    return single


def _bell(x: NDArray[np.float64], y: NDArray[np.float64], blur: Blur) -> NDArray[np.float64]:
    cos, sin = np.cos(blur.angle), np.sin(blur.angle)
    first, second = blur.sigmas
    squared = ((cos * x + sin * y) / first) ** 2 + ((cos * y - sin * x) / second) ** 2
    if blur.shape == "plateau":
        flat: NDArray[np.float64] = 1 / (1 + squared**blur.beta)
        return flat
    power = blur.beta if blur.shape == "generalised" else 1.0
    bell: NDArray[np.float64] = np.exp(-0.5 * squared**power)
    return bell


def _low_pass(distance: NDArray[np.float64], cutoff: float) -> NDArray[np.float64]:
    bessel = torch.special.bessel_j1(torch.from_numpy(cutoff * distance)).numpy()
    middle = cutoff**2 / (4 * np.pi)  # the limit at distance 0
    weights: NDArray[np.float64] = np.full_like(distance, middle)
    away = distance > 0
    weights[away] = cutoff * bessel[away] / (2 * np.pi * distance[away])
    return weights
