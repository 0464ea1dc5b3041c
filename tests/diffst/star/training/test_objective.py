"""What both kinds of STAR are trained for."""

import dataclasses

import numpy as np
import pytest
import torch

from diffst.star.training.loop import learner_of
from diffst.star.training.objective import (
    Learner,
    Pair,
    Question,
    frequency_loss,
    learning,
    pairs_of,
    question_of,
    velocity_loss,
)
from diffst.training.dataset import WindowDataset
from diffst.training.frequency import dynamic_frequency
from tests.diffst.star.training.toy import toy_cogvideox_config, toy_config
from tests.diffst.training.test_dataset import write_clip


@pytest.fixture(scope="module", params=[toy_config, toy_cogvideox_config])
def learner(request, tmp_path_factory) -> Learner:
    config = request.param(tmp_path_factory.mktemp("run"))
    if request.param is toy_config:
        config = dataclasses.replace(config, frames=3, decoded_frames=2)
    made = learner_of(config, torch.device("cpu"))
    made.network.eval()
    return made


def pair_for(learner: Learner) -> Pair:
    """A clip of a size and length that the learner takes."""
    generator = torch.Generator().manual_seed(0)
    size = (80, 64) if hasattr(learner, "states") else (32, 48)
    frames = learner.config.frames  # type: ignore[attr-defined]
    high = torch.rand(frames, 3, *size, generator=generator)
    return Pair(low=high[..., ::4, ::4].contiguous(), high=high)


@pytest.fixture
def pair(learner) -> Pair:
    return pair_for(learner)


def asked(learner, pair, seed=1) -> Question:
    torch.manual_seed(seed)
    return question_of(learner, pair)


def test_a_pair_is_a_keyframe_and_its_truth_down_to_a_size_the_network_takes(tmp_path):
    write_clip(tmp_path, "a", size=(32, 32))
    data = WindowDataset(tmp_path, lr_crop=32, num_keyframes=7)
    pairs = pairs_of(data.batch(2, np.random.default_rng(0)), (80, 128), torch.device("cpu"))
    assert len(pairs) == 2
    for pair in pairs:
        assert (pair.low.shape, pair.high.shape) == ((3, 3, 20, 32), (3, 3, 80, 128))
        # In this clip each keyframe is every fourth pixel of its truth.
        assert torch.equal(pair.high[..., ::4, ::4], pair.low)
        assert len({float(frame.sum()) for frame in pair.low}) == 3


def test_the_right_answer_leads_back_to_the_truth(learner, pair):
    question = asked(learner, pair)
    clean = question.clean(question.velocity)
    torch.manual_seed(1)
    true = learner.encoded(pair.high * 2 - 1)
    torch.testing.assert_close(clean, true, rtol=0, atol=1e-5)
    # The reference's formula of the velocity.
    formula = (question.alpha * question.noisy - clean) / (1 - question.alpha**2) ** 0.5
    torch.testing.assert_close(question.velocity, formula, rtol=0, atol=1e-4)
    assert question.hint.shape == clean.shape
    assert velocity_loss(question.velocity, question) == 0
    assert velocity_loss(question.velocity + 2, question) == pytest.approx(4)


def test_the_hint_is_the_damaged_clip_enlarged_without_noise(learner, pair):
    black = Pair(low=torch.zeros_like(pair.low), high=pair.high)
    torch.manual_seed(1)
    expected = torch.stack([learner.encoded(torch.full_like(pair.high, -1.0)) for _ in range(2)])
    spread = (expected[0] - expected[1]).abs().max()  # of what the VAE draws
    question = asked(learner, black)
    assert (question.hint - expected[0]).abs().max() <= 2 * spread
    assert (question.hint - asked(learner, pair).hint).abs().max() > 0


def test_every_level_of_noise_is_asked_about(learner, pair, monkeypatch):
    monkeypatch.setattr(learner, "encoded", lambda _: torch.zeros(1, 4, 1, 2, 2))
    questions = [asked(learner, pair, seed) for seed in range(300)]
    levels = [question.timestep for question in questions]
    assert min(levels) < 30
    assert max(levels) > 970
    assert 450 < np.mean(levels) < 550
    shares = [question.alpha for question in sorted(questions, key=lambda q: q.timestep)]
    assert shares == sorted(shares, reverse=True)
    assert learner.alpha(999) == 0


def frequency(learner, said, question, pair, *, as_released=False) -> torch.Tensor:
    torch.manual_seed(5)
    return frequency_loss(learner, said, question, pair, as_released=as_released)


def test_spectra_are_compared_of_decoded_frames_and_the_truth(learner, pair):
    question = asked(learner, pair)
    loss = frequency(learner, question.velocity, question, pair)
    torch.manual_seed(5)
    made, seen = learner.decoded(question.clean(question.velocity))
    true = pair.high[seen] * 2 - 1
    torch.testing.assert_close(loss, dynamic_frequency(made[None], true[None], question.timestep))
    assert loss > 0


@pytest.mark.parametrize("as_released", [False, True])
def test_its_gradient_reaches_the_answer_unless_it_shall_be_as_released(learner, pair, as_released):
    question = asked(learner, pair)
    said = question.velocity.clone().requires_grad_()
    loss = frequency(learner, said, question, pair, as_released=as_released)
    shown = frequency(learner, said, question, pair)
    assert torch.equal(loss.detach(), shown.detach())
    assert loss.requires_grad is not as_released
    if not as_released:
        (gradient,) = torch.autograd.grad(loss, said)
        assert gradient.abs().max() > 0


def test_the_answer_is_the_networks_and_what_learns_gets_its_gradient(learner, pair):
    question = asked(learner, pair)
    said = learner.answer(question)
    assert said.shape == question.velocity.shape
    velocity_loss(said, question).backward()
    for name, weight in learner.network.named_parameters():
        has_gradient = weight.grad is not None
        assert has_gradient is (name in learning(learner.network)), name
        weight.grad = None
