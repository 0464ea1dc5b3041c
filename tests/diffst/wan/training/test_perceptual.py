"""The perceptual loss, with a stand-in for the network; and what is said where there is none."""

import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from diffst.wan.training.perceptual import PerceptualLoss, open_perceptual
from diffst.wan.training.stages import Cut, loss_terms
from tests.diffst.wan.training.toy import sample, toy_batch, toy_pipeline

CPU = torch.device("cpu")


class Squares(nn.Module):
    """Each picture's mean squared difference, times a weight that must stay as it is."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(3.0))

    def forward(self, made, true):
        assert made.dtype == torch.float32
        return self.weight * (made - true).square().mean((1, 2, 3))


@pytest.fixture
def pyiqa(monkeypatch):
    module = ModuleType("pyiqa")
    monkeypatch.setitem(sys.modules, "pyiqa", module)

    def install(create):
        vars(module)["create_metric"] = create

    return install


def test_the_loss_is_the_networks_mean_and_its_gradient_the_closed_form(pyiqa):
    pyiqa(lambda name, *, device, as_loss: Squares())
    loss = open_perceptual("dists", CPU)
    true = torch.full((2, 3, 4, 4), 0.5)
    made = (true + torch.tensor([0.1, 0.3]).view(2, 1, 1, 1)).requires_grad_()
    value = loss(made, true)
    torch.testing.assert_close(value, torch.tensor(3 * (0.01 + 0.09) / 2))
    (gradient,) = torch.autograd.grad(value, made)
    # d/dx of 3 (x - t)^2 / 48, over two pictures
    expected = 3 * 2 * (made - true).detach() / 48 / 2
    torch.testing.assert_close(gradient, expected)
    assert isinstance(loss.judge, Squares)
    assert not loss.judge.weight.requires_grad


def test_what_is_asked_for_is_the_named_network_as_a_loss(pyiqa):
    asked = []

    def create(name, *, device, as_loss):
        asked.append((name, device, as_loss))
        return Squares()

    pyiqa(create)
    open_perceptual("lpips", CPU)
    assert asked == [("lpips", CPU, True)]


def test_pictures_out_of_range_are_seen_as_black_and_white():
    loss = PerceptualLoss(lambda made, true: (made - true).abs().mean())
    assert loss(torch.full((1, 3, 2, 2), 1.5), torch.ones(1, 3, 2, 2)) == 0


def test_a_missing_package_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises(
        ValueError, match=r"`dists` is not available.*pip install 'diffst\[metrics\]"
    ):
        open_perceptual("dists", CPU)


def test_a_package_that_the_network_needs_is_told(pyiqa):
    def fail(name, *, device, as_loss):
        raise ModuleNotFoundError("No module named 'pkg_resources'")

    pyiqa(fail)
    with pytest.raises(ValueError, match=r"loss `dists` is not available: No .*; install what it"):
        open_perceptual("dists", CPU)


def test_missing_weights_are_told(pyiqa):
    def fail(name, *, device, as_loss):
        raise OSError("no network")

    pyiqa(fail)
    with pytest.raises(ValueError, match="cannot be fetched: no network; run it once"):
        open_perceptual("lpips", CPU)


def test_a_network_and_the_frequency_loss_are_terms_of_stage_2_where_asked(monkeypatch):
    pipeline = toy_pipeline(monkeypatch)
    pipeline.transformer.requires_grad_(True)
    seen = []

    def judge(made, true):
        seen.append((made, true))
        return (made - true).abs().mean()

    options = {"dists": PerceptualLoss(judge), "frequency": None}
    terms = loss_terms(2, pipeline, sample(toy_batch()), Cut(first=0, run=range(2)), options)
    ((made, true),) = seen
    assert made.shape == true.shape == (10, 3, 64, 64)
    torch.testing.assert_close(true[0], sample(toy_batch()).targets[0, 0])
    for name in options:
        pipeline.transformer.zero_grad()
        terms[name].backward(retain_graph=True)
        assert pipeline.transformer.proj_out.bias.grad.abs().sum() > 0, name
