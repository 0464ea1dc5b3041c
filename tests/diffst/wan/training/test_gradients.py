"""The gradient of each loss, with respect to what was made, against its closed form."""

import math

import pytest
import torch

from diffst.training import losses
from diffst.training.frequency import SCALE, dynamic_frequency
from diffst.wan.training.stages import latent_loss, pixel_losses

SIDE = 64
SHIFT = 0.1  # of luma, the same everywhere
STEEP = SHIFT / math.hypot(SHIFT, 1e-3)  # derivative of Charbonnier there


def error(shifts) -> torch.Tensor:
    """(1, T, 3, 64, 64): luma wrong by a number in each frame, colour right."""
    made = torch.zeros(1, len(shifts), 3, SIDE, SIDE)
    made[:, :, 0] = torch.tensor(shifts).view(1, -1, 1, 1)
    return made.requires_grad_()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # Mean over 2 frames, 3 channels and all pixels; twice a half from the means over 8 x 8 and 64 x 64.
        ("reconstruction", 2 * STEEP / (2 * 3 * SIDE**2)),
        # Mean over 2 frames of 64 x 33 waves; only the one of frequency 0 is there, the sum over 64.
        ("spectrum", 1 / (2 * SIDE * 33) / SIDE),
    ],
)
def test_of_a_shift_of_brightness(name, expected):
    made = error([SHIFT, SHIFT])
    pixel_losses(made)[name].backward()
    assert made.grad is not None
    torch.testing.assert_close(made.grad[:, :, 0], torch.full((1, 2, SIDE, SIDE), expected))
    if name == "spectrum":  # of luma alone
        assert made.grad[:, :, 1:].abs().max() == 0


def test_of_a_flicker_is_the_sign_of_each_change():
    made = error([0.1, 0.3, 0.2])
    pixel_losses(made)["consistency"].backward()
    assert made.grad is not None
    # sign(e1 - e0) = 1, sign(e2 - e1) = -1; over 2 changes, 3 channels and all pixels
    expected = torch.tensor([-1.0, 2.0, -1.0]) / (2 * 3 * SIDE**2)
    torch.testing.assert_close(made.grad[0, :, 0, 0, 0], expected)


def test_of_latents_counts_the_first_one_alone_where_motion_is_not_true():
    generator = torch.Generator().manual_seed(0)
    made = torch.randn(2, 3, 4, 2, 2, generator=generator, requires_grad=True)
    true = torch.randn(2, 3, 4, 2, 2, generator=generator)
    latent_loss(made, true, torch.tensor([True, False])).backward()
    expected = 2 * (made - true).detach() / made.numel()
    expected[1, 1:] = 0
    torch.testing.assert_close(made.grad, expected)


def test_of_cfcas_is_charbonniers_in_each_colour():
    made = torch.full((1, 3, 4, 4), 0.2).requires_grad_()
    losses.charbonnier(losses.to_ycbcr(made)).backward()
    # d/dR, G, B of sqrt(Y^2 + eps^2) is STEEP times the weights of luma; the colour differences are 0.
    luma = 0.2 / math.hypot(0.2, 1e-3) * torch.tensor(losses.TO_YCBCR[0]) / (3 * 16)
    assert made.grad is not None
    torch.testing.assert_close(made.grad[0, :, 0, 0], luma)


def test_of_the_frequency_loss_at_timestep_0_is_that_of_the_strong_wave():
    made = torch.full((1, 1, 8, 8), 0.5).requires_grad_()
    dynamic_frequency(made, torch.zeros(1, 1, 8, 8), 0).backward()
    # One strong wave, the sum, in the mean of 8 x 5 waves with two parts; the mask is all but 1 there.
    expected = torch.full((1, 1, 8, 8), SCALE / (8 * 5 * 2))
    assert made.grad is not None
    torch.testing.assert_close(made.grad, expected, rtol=1e-3, atol=1e-8)
