"""What a run of the I2VGen-XL-based STAR trains, and what it leaves alone."""

import dataclasses

import pytest
import torch

from diffst.star.network import StarUNet
from diffst.star.training.objective import Pair, learning, question_of
from diffst.star.training.unet import UNetLearner, train_parts
from diffst.star.vae import decode
from tests.diffst.star.random_star import TINY_UNET
from tests.diffst.star.toys import Averages, Knowing
from tests.diffst.star.training.toy import toy_config


def network(**config) -> StarUNet:
    with torch.device("meta"):
        return StarUNet(**config)


@pytest.mark.parametrize(("parts", "count"), [("control", 629_888_050), ("local", 2_354)])
def test_as_many_parameters_are_trained_as_the_authors_trained(parts, count):
    published = network()
    train_parts(published, parts)
    assert sum(weight.numel() for weight in learning(published).values()) == count


def test_control_is_the_control_branch_and_every_local_enhancement():
    tiny = network(**TINY_UNET).requires_grad_(False)
    train_parts(tiny, "control")
    assert set(learning(tiny)) == {
        name
        for name, _ in tiny.named_parameters()
        if name.startswith("VideoControlNet.") or "local" in name
    }
    assert tiny.training


@pytest.fixture
def learner(tmp_path) -> UNetLearner:
    config = dataclasses.replace(toy_config(tmp_path), frames=3, decoded_frames=2)
    return UNetLearner(config, torch.device("cpu"))


def test_some_frames_at_a_random_place_are_decoded_together(learner):
    latents = torch.randn(1, 4, 3, 10, 8)
    places = set()
    for seed in range(6):
        torch.manual_seed(seed)
        made, seen = learner.decoded(latents)
        places.add(seen.start)
        expected = decode(learner.vae, latents[0, :, seen].transpose(0, 1), 100)
        torch.testing.assert_close(made, expected)
        assert len(made) == 2
    assert places == {0, 1}


def test_a_network_that_takes_the_hint_for_the_truth_is_right_where_they_are_alike(learner):
    learner.vae, learner.network = Averages(), Knowing()
    same = Pair(low=torch.full((3, 3, 20, 16), 0.3), high=torch.full((3, 3, 80, 64), 0.3))
    question = question_of(learner, same)
    torch.testing.assert_close(learner.answer(question), question.velocity, rtol=0, atol=1e-4)
