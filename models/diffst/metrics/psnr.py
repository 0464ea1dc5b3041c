"""Peak signal-to-noise ratio of 8-bit planes."""

import torch
from torch import Tensor

PEAK = 255.0  # the largest 8-bit code value
MAX_PSNR_DB = 100.0  # what identical planes get, so that a mean over frames stays finite


def psnr(output: Tensor, reference: Tensor) -> Tensor:
    """PSNR of each frame in dB: 10 log10(255^2 / mean squared error), at most `MAX_PSNR_DB`.

    Args:
        output: Planes as stored, (T, H, W) uint8.
        reference: The true planes, same shape and dtype.

    Returns:
        (T,) float64.

    Raises:
        ValueError: Shapes differ, or the planes are not (T, H, W) uint8.
    """
    check_planes(output, reference)
    errors = [_mean_squared_error(mine, true) for mine, true in zip(output, reference, strict=True)]
    error = torch.tensor(errors, dtype=torch.float64)
    return torch.clamp(10 * torch.log10(PEAK**2 / error), max=MAX_PSNR_DB)


def check_planes(output: Tensor, reference: Tensor) -> None:
    """Raise ValueError unless both are (T, H, W) uint8 of one shape."""
    for planes in (output, reference):
        if planes.ndim != 3 or planes.dtype != torch.uint8:
            raise ValueError(
                f"need (T, H, W) uint8 planes, got {tuple(planes.shape)} {planes.dtype}"
            )
    if output.shape != reference.shape:
        raise ValueError(f"cannot compare {tuple(output.shape)} with {tuple(reference.shape)}")


def _mean_squared_error(output: Tensor, reference: Tensor) -> float:
    """Mean squared difference of two uint8 planes, exact (integer sums)."""
    difference = output.to(torch.int32) - reference.to(torch.int32)
    return int((difference * difference).sum(dtype=torch.int64)) / difference.numel()
