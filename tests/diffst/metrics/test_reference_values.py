"""Metrics against numbers that other libraries gave for the same frames.

Printed by scikit-image 0.26.0 (`peak_signal_noise_ratio`; `structural_similarity` with
gaussian_weights=True, sigma=1.5, use_sample_covariance=False) and pytorch-msssim 1.0.0 (`ms_ssim`),
data range 255.
"""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from diffst.metrics import ms_ssim, psnr, ssim

# (height, width, step): odd sides are padded when halved; a step above 1 makes blocks
CASES = {
    "even": (192, 208, 2),
    "odd": (181, 203, 3),
    "coarse": (176, 176, 8),
}
SCIKIT_PSNR = {"even": 28.38243331350638, "odd": 25.02963190031705, "coarse": 15.670792788018822}
SCIKIT_SSIM = {"even": 0.8637845904384643, "odd": 0.7992665218238026, "coarse": 0.32288003284107164}
MSSSIM = {"even": 0.982730902644629, "odd": 0.9588801673884296, "coarse": 0.6109171196986943}


def frames(height: int, width: int, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A pattern of two waves and a grid, and the same in blocks with a ramp of errors; (1, H, W) uint8."""
    y, x = np.mgrid[:height, :width]
    true = (
        128 + 60 * np.sin(x / 7.3) + 45 * np.cos(y / 5.1 + x / 11.7) + 20 * ((x // 9 + y // 13) % 2)
    )
    blocks = true[y // step * step, x // step * step]
    damaged = blocks + (x * 7 + y * 3) % 11 - 5
    return plane(damaged), plane(true)


def plane(levels: npt.NDArray[np.float64]) -> torch.Tensor:
    """(H, W) numbers as one frame, (1, H, W) uint8."""
    return torch.from_numpy(np.clip(np.rint(levels), 0, 255).astype(np.uint8))[None]


@pytest.mark.parametrize("case", CASES)
def test_psnr_is_scikit_images(case: str):
    damaged, true = frames(*CASES[case])
    assert psnr(damaged, true).item() == pytest.approx(SCIKIT_PSNR[case], abs=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_ssim_is_scikit_images(case: str):
    damaged, true = frames(*CASES[case])
    # float32 moments here, float64 there
    assert ssim(damaged, true).item() == pytest.approx(SCIKIT_SSIM[case], abs=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_ms_ssim_is_pytorch_msssims(case: str):
    damaged, true = frames(*CASES[case])
    assert ms_ssim(damaged, true).item() == pytest.approx(MSSSIM[case], abs=1e-5)
