"""The dynamic-frequency loss against what the reference computed, and its gradient."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from diffst.training import frequency

FIXTURES = Path(__file__).parents[1] / "star" / "fixtures"
EXPECTED = json.loads((FIXTURES / "star_df_loss.json").read_text())


@pytest.fixture
def given() -> dict[str, torch.Tensor]:
    return load_file(FIXTURES / "star_df_loss.safetensors")


@pytest.mark.parametrize(("name", "side"), [("pred_x0", "pred"), ("gt", "gt")])
def test_spectra_are_split_as_the_reference_splits_them(given, name, side):
    weak, strong = frequency.split(given[name][0])
    for kind, part in (("low", weak), ("high", strong)):
        # The reference lays frames before channels.
        made = torch.view_as_real(part.transpose(0, 1))
        torch.testing.assert_close(made, given[f"{kind}_{side}"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "side"), [("pred_x0", "pred"), ("gt", "gt")])
def test_weak_and_strong_waves_part_where_the_references_do(given, name, side):
    sizes = torch.fft.rfft2(given[name]).abs()
    weak, strong = frequency.split(given[name])
    # The mask's logit is the sharpness times how far a wave is below the limit.
    near = (sizes - EXPECTED[f"cutoff_{side}"]).abs() < 0.3
    limits = sizes + (weak.abs() / strong.abs()).log() / frequency.MASK_SHARPNESS
    assert near.sum() > 10
    assert limits[near] == pytest.approx(EXPECTED[f"cutoff_{side}"], abs=1e-4)


@pytest.mark.parametrize("row", EXPECTED["rows"], ids=lambda row: f"t{row['t']}")
def test_the_loss_is_the_references_at_every_timestep(given, row):
    loss = frequency.dynamic_frequency(given["pred_x0"], given["gt"], row["t"])
    # b(t) times the reference's L_DF, which also is its total less the loss of v.
    torch.testing.assert_close(float(loss), row["weight_t"] * row["loss_t"], rtol=2e-6, atol=1e-9)
    velocity = (given["v_pred"] - given["v_target"]).square().mean()
    torch.testing.assert_close(float(velocity + loss), row["total"], rtol=1e-6, atol=0)


def test_clips_of_a_batch_are_judged_apart(given):
    clips = torch.cat((given["pred_x0"], 0.1 * given["gt"]))
    truths = torch.cat((given["gt"], given["gt"]))
    both = frequency.dynamic_frequency(clips, truths, 500)
    apart = [frequency.dynamic_frequency(clips[i : i + 1], truths[i : i + 1], 500) for i in (0, 1)]
    torch.testing.assert_close(both, sum(apart) / 2)


def test_a_large_clip_is_split_by_a_sample_of_its_waves():
    torch.manual_seed(0)
    clip = torch.randn(2, 3, 64, 64)  # 12,672 waves
    sizes = torch.fft.rfft2(clip).abs()
    weak, strong = frequency.split(clip)
    is_weak = weak.abs() > strong.abs()
    # Four in five, within what 10,000 draws can miss: five standard deviations are 0.02.
    assert abs(is_weak.float().mean() - 0.8) < 0.02
    assert sizes[is_weak].max() <= sizes[~is_weak].min()


def test_the_gradient_flows_and_leads_to_the_truth(given):
    made = given["pred_x0"].clone().requires_grad_()
    optimizer = torch.optim.Adam([made], lr=0.01)
    losses = []
    for _ in range(40):
        loss = frequency.dynamic_frequency(made, given["gt"], 250)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2


def test_as_released_it_has_the_same_value_and_teaches_nothing(given):
    made = given["pred_x0"].clone().requires_grad_()
    loss = frequency.dynamic_frequency(made, given["gt"], 500)
    released = frequency.dynamic_frequency(made, given["gt"], 500, as_released=True)
    assert loss.requires_grad
    assert not released.requires_grad
    assert released == loss


@pytest.mark.parametrize("timestep", [-1, 1000])
def test_a_timestep_out_of_range_is_refused(given, timestep):
    with pytest.raises(ValueError, match=r"outside 0\.\.999"):
        frequency.dynamic_frequency(given["gt"], given["gt"], timestep)


def test_shapes_that_differ_are_refused(given):
    with pytest.raises(ValueError, match="cannot compare"):
        frequency.dynamic_frequency(given["gt"], given["gt"][:, :, :1], 1)
