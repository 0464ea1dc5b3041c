import numpy as np
import pytest
import torch

from diffst.metrics import ms_ssim, ssim


def noise(seed: int, height: int = 13, width: int = 14) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (1, height, width), generator=generator, dtype=torch.uint8)


def ssim_by_windows(output: torch.Tensor, reference: torch.Tensor) -> float:
    """The definition, one window at a time, with a two-dimensional window and centred moments."""
    x, y = output[0].numpy().astype(float), reference[0].numpy().astype(float)
    axis = np.arange(-5, 6)
    window = np.exp(-(axis[:, None] ** 2 + axis[None, :] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    for top in range(x.shape[0] - 10):
        for left in range(x.shape[1] - 10):
            a, b = (p[top : top + 11, left : left + 11] for p in (x, y))
            mean_a, mean_b = (window * a).sum(), (window * b).sum()
            variances = (window * (a - mean_a) ** 2).sum() + (window * (b - mean_b) ** 2).sum()
            covariance = (window * (a - mean_a) * (b - mean_b)).sum()
            luminance = (2 * mean_a * mean_b + 6.5025) / (mean_a**2 + mean_b**2 + 6.5025)
            values.append(luminance * (2 * covariance + 58.5225) / (variances + 58.5225))
    return float(np.mean(values))


def test_it_is_the_definition_window_by_window():
    output, reference = noise(1), noise(2)
    assert ssim(output, reference).item() == pytest.approx(
        ssim_by_windows(output, reference), abs=1e-9
    )


def test_bright_flat_places_keep_their_variance():
    ripple = torch.randint(-1, 2, (2, 1, 32, 32), generator=torch.Generator().manual_seed(0))
    output, reference = (230 + ripple).to(torch.uint8)
    assert ssim(output, reference).item() == pytest.approx(
        ssim_by_windows(output, reference), abs=1e-9
    )


def test_flat_frames_give_the_luminance_term_alone():
    output = torch.full((1, 12, 12), 80, dtype=torch.uint8)
    reference = torch.full((1, 12, 12), 120, dtype=torch.uint8)
    expected = (2 * 80 * 120 + 6.5025) / (80**2 + 120**2 + 6.5025)
    assert ssim(output, reference).item() == pytest.approx(expected, abs=1e-4)


def test_an_inverted_texture_is_negative():
    texture = noise(3, 40, 40)
    assert ssim(255 - texture, texture).item() < -0.5


def test_identical_frames_give_one_each():
    frames = torch.cat([noise(4), noise(5)])
    assert ssim(frames, frames).tolist() == pytest.approx([1.0, 1.0], abs=1e-6)


def test_a_frame_smaller_than_the_window_is_refused():
    with pytest.raises(ValueError, match="needs 11 pixels each way"):
        ssim(noise(6, 10, 40), noise(6, 10, 40))


def test_identical_frames_give_one_at_five_scales():
    frames = noise(7, 176, 180)
    assert ms_ssim(frames, frames).tolist() == pytest.approx([1.0], abs=1e-6)


def test_blur_costs_less_at_five_scales_than_at_one():
    true = noise(8, 176, 176).float()
    blurred = torch.nn.functional.avg_pool2d(true, 3, stride=1, padding=1).to(torch.uint8)
    frames = true.to(torch.uint8)
    assert ms_ssim(blurred, frames).item() > ssim(blurred, frames).item() + 0.1


def test_an_inverted_texture_has_no_similarity_left():
    texture = noise(9, 176, 176)
    assert ms_ssim(255 - texture, texture).item() == 0


def test_a_frame_whose_coarsest_scale_is_below_the_window_is_refused():
    with pytest.raises(ValueError, match="needs 176 pixels each way"):
        ms_ssim(noise(6, 175, 180), noise(6, 175, 180))
