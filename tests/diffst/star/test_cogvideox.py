"""The CogVideoX-based network against what the reference made of the same weights."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from diffst.star.cogvideox import LocallyEnhancedAttention, StarCogVideoXTransformer
from diffst.star.cogvideox_keys import PREFIX, transformer_from_sat
from diffst.star.liem import train_liem_only

FIXTURES = Path(__file__).parent / "fixtures"


def sat_tensors() -> dict[str, torch.Tensor]:
    """The tiny reference's weights, by the names of the published file."""
    fixture = load_file(FIXTURES / "star_cogvideox_tiny.safetensors")
    return {
        PREFIX + name.removeprefix("w/"): tensor
        for name, tensor in fixture.items()
        if name.startswith("w/")
    }


@pytest.fixture(scope="module")
def case() -> dict[str, torch.Tensor]:
    return load_file(FIXTURES / "star_cogvideox_tiny.safetensors")


@pytest.fixture
def transformer() -> StarCogVideoXTransformer:
    return transformer_from_sat(sat_tensors(), torch.float32)


def test_the_gates_in_series_give_what_the_reference_gives():
    fixture = load_file(FIXTURES / "star_liem.safetensors")
    enhanced = LocallyEnhancedAttention()
    enhanced.local_spatial.conv1.weight.data = fixture["spatial/weight"]
    enhanced.local_temporal.conv1.weight.data = fixture["temporal/weight"]
    frames, height, width = fixture["cog/thw"].tolist()
    gated = enhanced.gate(fixture["cog/x"], (frames, height, width))
    torch.testing.assert_close(gated, fixture["cog/y"])


@pytest.mark.parametrize("name", ["case1", "case2"])
def test_the_network_gives_what_the_reference_gives(transformer, case, name):
    with torch.no_grad():
        made = transformer.velocity(case[f"{name}/x"], case[f"{name}/context"], case[f"{name}/t"])
    torch.testing.assert_close(made, case[f"{name}/out"], rtol=1e-5, atol=1e-5)


def test_positions_are_the_references(transformer, case):
    made = transformer.rotary((3, 2, 3), torch.device("cpu"))
    for waves, name in zip(made, ("freqs_cos", "freqs_sin"), strict=True):
        torch.testing.assert_close(waves, case[name], rtol=0, atol=1e-6)


def test_latents_and_poor_clip_are_joined_in_this_order(transformer, case):
    noisy, poor = case["case2/x"].chunk(2, dim=2)
    with torch.no_grad():
        made = transformer.predict(noisy, poor, case["case2/context"], int(case["case2/t"]))
    torch.testing.assert_close(made, case["case2/out"], rtol=1e-5, atol=1e-5)


def test_a_saved_network_comes_back_the_same(transformer, tmp_path):
    transformer.save_pretrained(tmp_path)
    again = StarCogVideoXTransformer.from_pretrained(tmp_path)
    assert again.config.in_channels == 8
    for name, tensor in transformer.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_training_the_gates_alone_lowers_the_loss_and_moves_nothing_else(transformer, case):
    before = {name: tensor.clone() for name, tensor in transformer.state_dict().items()}
    optimizer = torch.optim.Adam(train_liem_only(transformer), lr=0.05)
    target = case["case1/out"] + 0.3 * case["case1/x"][:, :, :4]
    losses = []
    for _ in range(8):
        made = transformer.velocity(case["case1/x"], case["case1/context"], case["case1/t"])
        loss = (made - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    moved = {
        n for n, tensor in transformer.state_dict().items() if not torch.equal(tensor, before[n])
    }
    assert moved == {name for name in before if ".processor." in name}
    assert len(moved) == 4
