"""Each loss against its closed form."""

import math

import pytest
import torch

from diffst.training import losses


def test_grey_errors_are_luma_only():
    error = losses.to_ycbcr(torch.full((1, 3, 2, 2), 0.25))
    torch.testing.assert_close(error[:, 0], torch.full((1, 2, 2), 0.25))
    torch.testing.assert_close(error[:, 1:], torch.zeros(1, 2, 2, 2), rtol=0, atol=1e-6)


def test_colour_differences_weigh_half():
    blue = torch.zeros(1, 3, 1, 1)
    blue[:, 2] = 1
    torch.testing.assert_close(losses.to_ycbcr(blue)[0, 1], torch.tensor([[0.25]]))


def test_errors_are_measured_in_float32_under_autocast_too():
    error = 0.02 * torch.randn(1, 5, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = losses.to_ycbcr(error)
    with torch.autocast("cpu", torch.bfloat16):
        made = losses.to_ycbcr(error)
    assert made.dtype == torch.float32
    assert torch.equal(made, expected)


def test_charbonnier_is_its_formula():
    values = torch.tensor([0.0, 0.3, -0.4])
    expected = sum(math.sqrt(v * v + 1e-6) for v in (0.0, 0.3, 0.4)) / 3
    torch.testing.assert_close(losses.charbonnier(values), torch.tensor(expected))


def test_a_shift_of_brightness_costs_twice_what_the_same_checkerboard_does():
    shift = torch.full((1, 3, 64, 64), 0.1)
    board = shift * (1 - 2 * ((torch.arange(64)[:, None] + torch.arange(64)) % 2))
    pixel = losses.charbonnier(shift)
    torch.testing.assert_close(losses.reconstruction(shift), 2 * pixel)
    # The means are 0, where the formula leaves its epsilon.
    torch.testing.assert_close(losses.reconstruction(board), pixel + 1e-3)


def test_the_spectrum_of_a_constant_error_is_its_mean_frequency_alone():
    error = torch.zeros(1, 3, 8, 8)
    error[:, 0] = 0.5
    # Orthonormal: the zero frequency is 0.5 * sqrt(64); the half spectrum has 8 * 5 values.
    torch.testing.assert_close(losses.spectrum(error), torch.tensor(0.5 * 8 / 40))


def test_a_steady_error_is_consistent_and_a_flicker_is_not():
    error = torch.full((2, 3, 3, 4, 4), 0.2)
    assert losses.consistency(error) == 0
    error[:, 1] = -0.2
    torch.testing.assert_close(losses.consistency(error), torch.tensor(0.4))


def test_consistency_leaves_out_changes_to_frames_that_are_not_counted():
    error = torch.full((2, 3, 3, 4, 4), 0.2)
    error[0, 1] = 0
    assert losses.consistency(error) == 0
    error[1, 1] = -0.2
    torch.testing.assert_close(losses.consistency(error), torch.tensor(0.2))
    error[1, 1] = 0
    assert losses.consistency(error) == 0


def test_latent_is_the_squared_distance_and_moves_only_the_made_side():
    made = torch.full((1, 2, 3, 3), 1.0, requires_grad=True)
    true = torch.full((1, 2, 3, 3), 3.0, requires_grad=True)
    value = losses.latent(made, true)
    value.backward()
    assert value == 4
    assert true.grad is None
    torch.testing.assert_close(made.grad, torch.full_like(made, 2 * -2 / 18))


def test_decibels_are_the_mean_logarithm_of_each_frames_luma_error():
    error = torch.zeros(2, 2, 3, 64, 64)
    error[0, 0, 0] = 0.1
    error[1, 1, 0] = 0.01
    error[:, :, 1] = 0.5 * (error[:, :, 0] > 0)
    expected = (math.log10(0.01 + 1e-5) + math.log10(0.0001 + 1e-5)) / 2
    assert float(losses.decibels(error)) == pytest.approx(expected, rel=1e-6)
