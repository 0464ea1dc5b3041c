"""Weights spread over two processes, as FSDP spreads them over GPUs, learn what whole ones learn."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from diffst.wan.training.sharding import (
    numbers_to_vectors,
    plain_type,
    vectors_to_numbers,
    whole,
)
from tests.diffst.wan.training.toy import toy_pipeline

ROOT = Path(__file__).parents[4]
SCRIPT = "tests.diffst.wan.training.train_sharded"


class Part(nn.Module):
    def __init__(self):
        super().__init__()
        self.number = nn.Parameter(torch.tensor(3.0))
        self.inner = nn.Linear(2, 2)

    def forward(self, value):
        return self.number * value


def test_a_number_is_kept_as_a_vector_and_read_as_a_number():
    part = Part()
    numbers_to_vectors(part)
    assert all(value.ndim > 0 for value in part.parameters())
    assert part(torch.tensor(2.0)) == 6
    assert part.number.shape == ()
    part(torch.tensor(2.0)).backward()
    gradients = [value.grad for name, value in part.named_parameters() if "number" in name]
    assert [gradient.tolist() for gradient in gradients if gradient is not None] == [[2.0]]


def test_a_part_comes_back_as_it_was():
    part = Part()
    before = {name: value.clone() for name, value in part.state_dict().items()}
    numbers_to_vectors(part)
    assert plain_type(part) is Part
    vectors_to_numbers(part)
    after = part.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    assert type(part) is Part


def test_a_whole_weight_is_a_copy():
    value = torch.ones(2, requires_grad=True)
    whole(value).zero_()
    assert value.tolist() == [1, 1]


@pytest.mark.slow
def test_two_processes_with_half_the_weights_each_learn_what_one_does(tmp_path, monkeypatch):
    toy_pipeline(monkeypatch).save_pretrained(tmp_path / "start")
    made = []
    for num_processes in (1, 2):
        out = tmp_path / f"{num_processes}.pt"
        subprocess.run(
            [sys.executable, "-m", SCRIPT, str(num_processes), tmp_path / "start", out],
            cwd=ROOT,
            check=True,
        )
        made.append(torch.load(out, weights_only=True))
    one, two = made
    assert one["norms"] == pytest.approx(two["norms"], rel=1e-4)
    assert one["average"].keys() == two["average"].keys()
    for name, value in one["average"].items():
        torch.testing.assert_close(two["average"][name], value, rtol=1e-4, atol=2e-5)
