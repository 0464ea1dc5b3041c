"""The one step against its formula, and how windows cut time."""

import torch

from diffst.transformer import null_guidance, one_step
from tests.diffst.tiny import tiny_pipeline

CONSTANTS = {"timestep": 399.0, "sigma": 0.4}


def test_the_step_is_the_latents_minus_sigma_times_the_velocity():
    transformer = tiny_pipeline().transformer
    latents, guidance = torch.rand(1, 4, 3, 5), torch.rand(1, 3, 8)
    velocity = transformer(
        hidden_states=latents.unsqueeze(2),
        timestep=torch.tensor([399.0]),
        encoder_hidden_states=guidance,
        return_dict=False,
    )[0].squeeze(2)
    made = one_step(transformer, latents, guidance, window_latents=1, **CONSTANTS)
    torch.testing.assert_close(made, latents - 0.4 * velocity)


def test_a_transformer_that_says_nothing_leaves_the_latents():
    transformer = tiny_pipeline().transformer
    torch.nn.init.zeros_(transformer.proj_out.weight)
    torch.nn.init.zeros_(transformer.proj_out.bias)
    latents = torch.rand(5, 4, 3, 5)
    made = one_step(transformer, latents, torch.rand(1, 3, 8), window_latents=2, **CONSTANTS)
    assert torch.equal(made, latents)


def test_windows_of_one_do_not_see_each_other_and_longer_windows_do():
    transformer = tiny_pipeline().transformer
    latents, guidance = torch.rand(4, 4, 3, 5), torch.rand(1, 3, 8)
    changed = latents.clone()
    changed[1] += 1
    for window, reached in ((1, [1]), (2, [0, 1]), (3, [0, 1, 2])):
        here = one_step(transformer, latents, guidance, window_latents=window, **CONSTANTS)
        there = one_step(transformer, changed, guidance, window_latents=window, **CONSTANTS)
        moved = (here - there).abs().amax((1, 2, 3)) > 1e-6
        assert moved.nonzero().flatten().tolist() == reached


def test_each_row_of_guidance_serves_its_run_of_windows():
    transformer = tiny_pipeline().transformer
    latents, guidance = torch.rand(4, 4, 3, 5), torch.rand(2, 3, 8)
    both = one_step(transformer, latents, guidance, window_latents=1, **CONSTANTS)
    second = one_step(transformer, latents[2:], guidance[1:], window_latents=1, **CONSTANTS)
    torch.testing.assert_close(both[2:], second, rtol=0, atol=1e-6)


def test_no_guidance_is_one_row_of_zeros():
    rows = null_guidance(tiny_pipeline().transformer)
    assert rows.shape == (1, 1, 8)
    assert not rows.any()
