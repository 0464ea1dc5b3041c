"""Noise levels and steps are the reference's."""

import pytest

from diffst.star.schedule import even_steps, noise_levels, noise_ratio, published_steps
from tests.diffst.star.reference import table


def test_the_noise_levels_are_the_references():
    known = table("star_schedule")["sigmas_vp_1000"]
    assert noise_levels() == pytest.approx(known, abs=4e-7)  # those are float32
    assert noise_levels()[999] == 1.0


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("fast_15_tmax899", published_steps()),
        ("fast_50_tmax899", published_steps()),  # the reference does not look at the number
        ("fast_15_tmax999", published_steps(999)),
        ("normal_15_tmax899", even_steps(15)),
        ("normal_30_tmax899", even_steps(30)),
        ("normal_50_tmax899", even_steps(50)),
    ],
)
def test_the_steps_are_the_references(name, steps):
    known = table("star_schedule")["runs"][name]
    assert [step.timestep for step in steps] == known["model_t"]
    assert [step.timestep for step in steps] == [round(t) for t in known["model_t_float"]]
    ratios = pytest.approx(known["ve_sigmas"][:-1], rel=3e-5)  # float32 there
    assert [step.ratio for step in steps] == ratios
    assert [noise_ratio(t) for t in known["raw_timesteps_before_penultimate_drop"][:-1]] == ratios
    assert [step.alpha for step in steps] == pytest.approx(known["vp_alpha"], abs=1e-5)
    assert [step.sigma for step in steps] == pytest.approx(known["vp_sigma"], abs=1e-6)


@pytest.mark.parametrize("num_steps", [0, 900])
def test_a_number_of_steps_that_cannot_be_taken_is_refused(num_steps):
    with pytest.raises(ValueError, match=f"{num_steps} steps; at least 1 and at most 899"):
        even_steps(num_steps)
