"""What STAR is trained for."""

import numpy as np
import pytest
import torch

from diffst.star.build import build_random
from diffst.star.sampler import picture_of
from diffst.star.training import objective
from diffst.star.training.objective import (
    Pair,
    Question,
    answer,
    frequency_loss,
    pairs_of,
    question_of,
    velocity_loss,
)
from diffst.star.vae import decode
from diffst.training.dataset import WindowDataset
from diffst.training.frequency import dynamic_frequency
from tests.diffst.star.toys import Averages, Knowing
from tests.diffst.training.test_dataset import write_clip


@pytest.fixture(scope="module")
def pipeline():
    return build_random("tiny")


@pytest.fixture
def pair() -> Pair:
    generator = torch.Generator().manual_seed(0)
    high = torch.rand(3, 3, 80, 64, generator=generator)
    return Pair(low=high[..., ::4, ::4].contiguous(), high=high)


def asked(pipeline, pair, seed=1) -> Question:
    torch.manual_seed(seed)
    return question_of(pipeline, pair)


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


def test_the_right_answer_leads_back_to_the_truth(pipeline, pair):
    question = asked(pipeline, pair)
    clean = picture_of(question.noisy, question.velocity, question.step)
    torch.manual_seed(1)
    torch.testing.assert_close(
        clean, objective.encoded(pipeline, pair.high * 2 - 1), rtol=0, atol=1e-5
    )
    # The reference's formula of the velocity.
    formula = (question.step.alpha * question.noisy - clean) / question.step.sigma
    torch.testing.assert_close(question.velocity, formula, rtol=0, atol=1e-4)
    assert question.hint.shape == clean.shape
    assert velocity_loss(question.velocity, question) == 0
    assert velocity_loss(question.velocity + 2, question) == pytest.approx(4)


def test_every_level_of_noise_is_asked_about(pipeline, pair, monkeypatch):
    monkeypatch.setattr(pipeline, "vae", Averages())
    levels = [asked(pipeline, pair, seed).step.timestep for seed in range(300)]
    assert min(levels) < 30
    assert max(levels) > 970
    assert 450 < np.mean(levels) < 550


def test_the_hint_is_the_damaged_clip_without_noise(pipeline, pair, monkeypatch):
    monkeypatch.setattr(pipeline, "vae", Averages())
    monkeypatch.setattr(pipeline, "unet", Knowing())
    # The damaged clip is the truth here, of one colour, so the network that takes the hint for it is right.
    same = Pair(low=torch.full_like(pair.low, 0.3), high=torch.full_like(pair.high, 0.3))
    question = asked(pipeline, same)
    said = answer(pipeline, question, torch.zeros(1, 7, 24))
    torch.testing.assert_close(said, question.velocity, rtol=0, atol=1e-4)


def frequency(pipeline, said, question, pair, **options) -> torch.Tensor:
    torch.manual_seed(5)
    usual = {"num_frames": 2, "as_released": False}
    return frequency_loss(pipeline, said, question, pair, **{**usual, **options})


def test_spectra_are_compared_of_decoded_frames_and_the_truth(pipeline, pair):
    question = asked(pipeline, pair)
    loss = frequency(pipeline, question.velocity, question, pair)
    torch.manual_seed(5)
    first = int(torch.randint(2, ()))
    seen = slice(first, first + 2)
    clean = picture_of(question.noisy, question.velocity, question.step)
    made = decode(pipeline.vae, clean[0, :, seen].transpose(0, 1), 100)
    true = pair.high[seen] * 2 - 1
    expected = dynamic_frequency(made[None], true[None], question.step.timestep)
    torch.testing.assert_close(loss, expected)
    assert loss > 0


@pytest.mark.parametrize("as_released", [False, True])
def test_its_gradient_reaches_the_answer_unless_it_shall_be_as_released(
    pipeline, pair, as_released
):
    question = asked(pipeline, pair)
    said = question.velocity.clone().requires_grad_()
    loss = frequency(pipeline, said, question, pair, as_released=as_released)
    shown = frequency(pipeline, said, question, pair)
    assert torch.equal(loss.detach(), shown.detach())
    assert loss.requires_grad is not as_released
    if not as_released:
        (gradient,) = torch.autograd.grad(loss, said)
        # Of the three frames two were decoded.
        assert [bool(frame.abs().max() > 0) for frame in gradient[0].unbind(1)].count(True) == 2
