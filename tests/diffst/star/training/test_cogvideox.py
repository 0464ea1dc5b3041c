"""What a run of the CogVideoX-based STAR trains, what it decodes, and what it saves."""

import dataclasses

import pytest
import torch

from diffst.star.checkpoint import load_cogvideox_pipeline
from diffst.star.cogvideox import StarCogVideoXTransformer
from diffst.star.cogvideox_sampler import make_schedule
from diffst.star.training.cogvideox import CogVideoXLearner, train_parts
from diffst.star.training.objective import learning
from tests.diffst.star.training.toy import toy_cogvideox_config

PUBLISHED = {
    "num_attention_heads": 48,
    "in_channels": 32,
    "num_layers": 42,
    "use_rotary_positional_embeddings": True,
}


@pytest.fixture
def peft():
    return pytest.importorskip("peft", reason="needs `pip install diffst[train]`")


def published() -> StarCogVideoXTransformer:
    with torch.device("meta"):
        return StarCogVideoXTransformer(**PUBLISHED)


def test_local_enhancement_alone_is_100_numbers_a_layer():
    network = published()
    train_parts(network, "local", 512)
    assert sum(weight.numel() for weight in learning(network).values()) == 42 * 100
    assert network.training


def test_as_many_parameters_are_trained_as_the_authors_trained(peft):
    network = published()
    train_parts(network, "lora", 512)
    assert sum(weight.numel() for weight in learning(network).values()) == 532_243_624


@pytest.fixture
def learner(tmp_path) -> CogVideoXLearner:
    config = toy_cogvideox_config(tmp_path, frames=25)
    return CogVideoXLearner(config, torch.device("cpu"))


def test_a_level_is_the_one_at_which_the_sampler_asks(learner):
    steps = make_schedule(1000)
    for timestep, alpha in zip(steps.timesteps[::100], steps.network_alphas[::100], strict=True):
        assert learner.alpha(timestep) == pytest.approx(alpha, abs=1e-12)


@torch.no_grad()
def test_a_group_of_frames_is_decoded_as_in_the_whole_clip(learner):
    latents = torch.randn(1, 4, 7, 8, 12)
    whole = learner.pipeline.decode(latents)
    places = {}
    for seed in range(12):
        torch.manual_seed(seed)
        made, seen = learner.decoded(latents)
        torch.testing.assert_close(made, whole[seen])
        places[seen.start] = seen.stop
    assert places == {0: 9, 9: 17, 17: 25}


def test_only_the_group_that_is_decoded_gets_a_gradient(learner):
    latents = torch.randn(1, 4, 7, 8, 12, requires_grad=True)
    torch.manual_seed(0)
    made, seen = learner.decoded(latents)
    (gradient,) = torch.autograd.grad(made.sum(), latents)
    reached = {i for i in range(7) if gradient[:, :, i].abs().max() > 0}
    assert reached == {9: {3, 4}, 17: {5, 6}, 0: {0, 1, 2}}[seen.start]


def test_low_rank_updates_say_nothing_at_first_and_are_saved_merged(peft, tmp_path):
    config = toy_cogvideox_config(tmp_path, parts="lora")
    learner = CogVideoXLearner(config, torch.device("cpu"))
    given = load_cogvideox_pipeline(config.start_from).transformer
    learns = learning(learner.network)
    assert {name.split(".")[0] for name in learns} == {
        *("transformer_blocks", "patch_embed", "norm_final", "norm_out", "proj_out")
    }
    question = torch.randn(1, 3, 8, 8, 12), torch.randn(1, 3, 12), torch.tensor([500])
    with torch.no_grad():
        torch.testing.assert_close(learner.network.velocity(*question), given.velocity(*question))
        for weight in learns.values():
            weight.add_(torch.randn_like(weight) * 0.1)
        moved = learner.network.velocity(*question)
        learner.save(tmp_path / "saved")
        saved = load_cogvideox_pipeline(tmp_path / "saved").transformer
        torch.testing.assert_close(saved.velocity(*question), moved, rtol=1e-4, atol=1e-5)
        # It goes on learning as it was.
        torch.testing.assert_close(learner.network.velocity(*question), moved)
    assert set(saved.state_dict()) == set(given.state_dict())
    torch.manual_seed(3)
    again, other = (
        CogVideoXLearner(dataclasses.replace(config, seed=seed), torch.device("cpu"))
        for seed in (0, 1)
    )
    fresh = learning(again.network)
    drawn = {n for n, v in learning(other.network).items() if not torch.equal(v, fresh[n])}
    assert drawn == {name for name in fresh if "lora_A" in name}
