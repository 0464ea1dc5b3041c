"""Whole sampling runs give what the reference gives, for the same noise."""

import math

import pytest
import torch

from diffst.star.sampler import guide, noised, picture_of, sample
from diffst.star.schedule import even_steps, published_steps, step_at
from diffst.star.windows import cut_pieces, frame_windows, in_pieces
from tests.diffst.star.reference import assert_near, tensors

TOLERANCE = 5e-6


def toy_velocity(noisy, timestep, text, hint):
    """The stand-in for the network with which the reference's runs were recorded."""
    mean = noisy.mean(dim=2, keepdim=True)
    return 0.3 * noisy * text + 0.2 * hint + 0.05 * math.sin(timestep / 100) + 0.1 * mean


def toy_denoise(hint):
    def denoise(noisy, step):
        velocities = [toy_velocity(noisy, step.timestep, text, hint) for text in (1.0, 0.4)]
        return picture_of(noisy, guide(*velocities, scale=7.5, rescale=0.2), step)

    return denoise


@pytest.mark.parametrize("timestep", [899, 450, 3])
def test_one_guided_estimate_is_the_references(timestep):
    known = tensors("star_sampler", "denoise/")
    hint = tensors("star_sampler", "fast_f4/")["lr_latent"]
    clean = toy_denoise(hint)(known["xt"], step_at(timestep))
    assert_near(clean, known[f"x0_t{timestep}"], TOLERANCE)


@pytest.mark.parametrize(
    ("name", "steps"), [("fast_f4", published_steps()), ("normal30_f4", even_steps(30))]
)
def test_a_run_is_the_references(name, steps):
    known = tensors("star_sampler", f"{name}/")
    start = noised(known["lr_latent"], known["diffuse_noise"], steps[0])
    assert_near(start, known["noised"], TOLERANCE)
    made = sample(toy_denoise(known["lr_latent"]), start, steps, lambda i: known["step_noise"][i])
    assert_near(made, known["out"], TOLERANCE)


def test_a_run_in_windows_is_the_references():
    known = tensors("star_sampler", "fast_f60_chunked/")
    windows = frame_windows(60, 32)
    assert windows == [tuple(window) for window in known["chunks"].tolist()]
    height, width = (cut_pieces([(0, side)]) for side in known["noised"].shape[-2:])

    def denoise(noisy, step):
        def piece(place):
            where = (..., *place)
            return toy_denoise(known["lr_latent"][where])(noisy[where], step)

        return in_pieces(piece, noisy, (cut_pieces(windows), height, width))

    made = sample(denoise, known["noised"], published_steps(), lambda i: known["step_noise"][i])
    assert_near(made, known["out"], TOLERANCE)


def test_from_pure_noise_the_first_step_goes_straight_on():
    steps = published_steps(999)[:2]
    start = torch.full((1, 1, 1, 1, 1), 3.0)
    seen = []

    def denoise(noisy, _step):
        seen.append(noisy.item())
        return torch.full_like(noisy, 0.5)

    made = sample(denoise, start, steps, lambda _i: torch.zeros_like(start))
    ratio = steps[1].ratio
    assert seen == pytest.approx([3.0, (0.5 + ratio * 3.0) / math.sqrt(1 + ratio**2)])
    assert made.item() == 0.5


def test_guidance_of_one_is_the_prompts_own():
    wanted, unwanted = torch.randn(2, 1, 4, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(guide(wanted, unwanted, scale=1.0, rescale=0.2), wanted)


def test_full_rescaling_keeps_each_samples_spread():
    wanted, unwanted = torch.randn(2, 2, 4, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    guided = guide(wanted, unwanted, scale=7.5, rescale=1.0)
    torch.testing.assert_close(guided.std((1, 2, 3, 4)), wanted.std((1, 2, 3, 4)))
