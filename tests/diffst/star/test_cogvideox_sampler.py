"""The sampler against the reference's tables and trajectory."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from diffst.star.cogvideox_sampler import guidance_scale, make_schedule, sample

FIXTURES = Path(__file__).parent / "fixtures"
TABLES = json.loads((FIXTURES / "star_cogvideox_schedule.json").read_text())


def test_the_schedule_is_the_references():
    schedule = make_schedule(50)
    assert list(schedule.timesteps) == TABLES["50"]["timesteps"]
    # The reference computed in float32.
    assert schedule.alphas == pytest.approx(TABLES["50"]["sqrt_alpha_cumprod"], abs=2e-6)
    taught = TABLES["sqrt_alpha_cumprod_1000_by_t"]
    nearest = [min(taught, key=lambda a: abs(a - alpha)) for alpha in schedule.alphas[:-1]]
    assert schedule.network_alphas == pytest.approx(nearest, abs=2e-6)


def test_the_guidance_is_the_references():
    made = [guidance_scale(t, 50, 6.0) for t in TABLES["50"]["timesteps"]]
    assert made == pytest.approx(TABLES["50"]["cfg_scale"], abs=1e-6)


@pytest.fixture(scope="module")
def run() -> dict[str, torch.Tensor]:
    return load_file(FIXTURES / "star_cogvideox_sampler.safetensors")


def toy(latents, timestep, poor, context):
    """The fixture's stand-in for the network."""
    return 0.3 * latents * (1 + context) + 0.2 * poor + 0.05 * math.sin(timestep / 100)


def test_fifty_steps_end_where_the_references_do(run):
    def network(latents, timestep):
        with_text = toy(latents, timestep, run["lq"], run["context_cond"].mean())
        return with_text, toy(latents, timestep, run["lq"], 0.0)

    made = sample(network, run["x_init"], make_schedule(50), lambda i: run["noise_used"][i])
    torch.testing.assert_close(made, run["out"], rtol=0, atol=5e-6)


def test_without_text_the_network_is_followed_as_it_is(run):
    def alone(latents, timestep):
        return toy(latents, timestep, run["lq"], 0.0), None

    def twice(latents, timestep):
        made, _ = alone(latents, timestep)
        return made, made

    def noise(i):
        return run["noise_used"][i]

    schedule = make_schedule(4)
    one, two = (sample(network, run["x_init"], schedule, noise) for network in (alone, twice))
    torch.testing.assert_close(one, two)


def test_one_step_is_the_networks_own_guess(run):
    velocity = torch.randn_like(run["x_init"])
    made = sample(lambda *_: (velocity, None), run["x_init"], make_schedule(1), lambda _: run["lq"])
    # At timestep 999 there is no signal: v = -x_0.
    torch.testing.assert_close(made, -velocity)


@pytest.mark.parametrize("num_steps", [0, 1001])
def test_a_number_of_steps_that_is_not_possible_is_refused(num_steps):
    with pytest.raises(ValueError, match=f"{num_steps} steps; 1 to 1000"):
        make_schedule(num_steps)
