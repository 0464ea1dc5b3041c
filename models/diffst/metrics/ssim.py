"""Structural similarity of 8-bit planes, Gaussian window, at one scale and at five."""

import torch
from torch import Tensor
from torch.nn import functional

from diffst.metrics.psnr import PEAK, check_planes

# Source: Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity"
WINDOW_SIZE = 11  # pixels
WINDOW_SIGMA = 1.5  # pixels
LUMINANCE_CONSTANT = (0.01 * PEAK) ** 2
CONTRAST_CONSTANT = (0.03 * PEAK) ** 2
# Exponents of the scales, finest first; each next one has half the size.
# Source: Wang et al. 2003, "Multi-scale structural similarity for image quality assessment", section 3.2
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
MIN_MULTI_SCALE_SIZE = WINDOW_SIZE * 2 ** (len(SCALE_WEIGHTS) - 1)  # pixels each way


def ssim(output: Tensor, reference: Tensor) -> Tensor:
    """Mean SSIM of each frame, over the windows that lie wholly inside it.

    Args:
        output: Planes as stored, (T, H, W) uint8, at least 11 pixels each way.
        reference: The true planes, same shape and dtype.

    Returns:
        (T,) float64, 1 for identical frames.

    Raises:
        ValueError: Shapes differ, not (T, H, W) uint8, or smaller than the window.
    """
    check_planes(output, reference)
    if min(output.shape[-2:]) < WINDOW_SIZE:
        raise ValueError(f"SSIM needs {WINDOW_SIZE} pixels each way, got {tuple(output.shape)}")
    values = [_frame_ssim(mine, true) for mine, true in zip(output, reference, strict=True)]
    return torch.tensor(values, dtype=torch.float64)


def ms_ssim(output: Tensor, reference: Tensor) -> Tensor:
    """MS-SSIM of each frame: contrast and structure at five scales, luminance at the coarsest.

    Args:
        output: Planes as stored, (T, H, W) uint8, at least 176 pixels each way.
        reference: The true planes, same shape and dtype.

    Returns:
        (T,) float64, 1 for identical frames.

    Raises:
        ValueError: Shapes differ, not (T, H, W) uint8, or the coarsest scale is below the window.
    """
    check_planes(output, reference)
    if min(output.shape[-2:]) < MIN_MULTI_SCALE_SIZE:
        raise ValueError(
            f"MS-SSIM needs {MIN_MULTI_SCALE_SIZE} pixels each way, got {tuple(output.shape)}"
        )
    values = [_frame_ms_ssim(mine, true) for mine, true in zip(output, reference, strict=True)]
    return torch.tensor(values, dtype=torch.float64)


def _frame_ssim(output: Tensor, reference: Tensor) -> float:
    """Mean SSIM of two uint8 planes (H, W)."""
    luminance, structure = _similarities(output.double(), reference.double())
    return float((luminance * structure).mean())


def _frame_ms_ssim(output: Tensor, reference: Tensor) -> float:
    """MS-SSIM of two uint8 planes (H, W)."""
    pair = torch.stack([output.double(), reference.double()])
    result = 1.0
    for scale, weight in enumerate(SCALE_WEIGHTS):
        if scale > 0:
            pair = _halve(pair)
        luminance, similarity = _similarities(pair[0], pair[1])
        if scale == len(SCALE_WEIGHTS) - 1:
            similarity = luminance * similarity
        # A negative mean has no real power; it counts as no similarity at all.
        result *= max(float(similarity.mean()), 0.0) ** weight
    return result


def _halve(planes: Tensor) -> Tensor:
    """Means of 2x2 pixels; a side of odd length is padded by zeros at its start, as is usual."""
    odd = (planes.shape[-2] % 2, planes.shape[-1] % 2)
    return functional.avg_pool2d(planes[None], 2, padding=odd)[0]


def _similarities(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Luminance term, and contrast and structure in one, of two float64 planes (H, W), by window.

    In float32 variances of bright flat places would be lost in squares of 60,000.
    """
    moments = _blur(torch.stack([x, y, x * x, y * y, x * y]))
    mean_x, mean_y = moments[0], moments[1]
    variance_x = moments[2] - mean_x * mean_x
    variance_y = moments[3] - mean_y * mean_y
    covariance = moments[4] - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + LUMINANCE_CONSTANT) / (
        mean_x * mean_x + mean_y * mean_y + LUMINANCE_CONSTANT
    )
    structure = (2 * covariance + CONTRAST_CONSTANT) / (variance_x + variance_y + CONTRAST_CONSTANT)
    return luminance, structure


def _blur(planes: Tensor) -> Tensor:
    """Gaussian-weighted local means of (N, H, W) planes, without padding."""
    return _blur_rows(_blur_rows(planes).transpose(1, 2)).transpose(1, 2)


def _blur_rows(planes: Tensor) -> Tensor:
    """Weighted means of `WINDOW_SIZE` neighbouring rows, (N, H, W) to (N, H - 10, W)."""
    offsets = torch.arange(WINDOW_SIZE, dtype=torch.float64) - WINDOW_SIZE // 2
    weights = torch.exp(-(offsets**2) / (2 * WINDOW_SIGMA**2))
    num_rows = planes.shape[1] - WINDOW_SIZE + 1
    blurred = torch.zeros_like(planes[:, :num_rows])
    # Shifted sums: ten times as fast on a CPU as a one-channel convolution.
    for shift, weight in enumerate((weights / weights.sum()).tolist()):
        blurred.add_(planes[:, shift : shift + num_rows], alpha=weight)
    return blurred
