"""Weights spread over two processes, as FSDP spreads them over GPUs, learn what whole ones learn."""

import os
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
from diffst_cli.app import main
from tests.diffst.wan.training.test_processes import (
    assert_learnt_alike,
    run_file,
    write_footage,
)

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


def launch(config: Path, kind: str) -> str:
    """Train in two processes as the user's guide says; returns what was said."""
    line = f"--config_file examples/train/{kind}.yaml --num_processes 2 --main_process_port 0"
    done = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", *line.split(), "-m", SCRIPT, config],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["fsdp", "deepspeed"])
def test_two_processes_with_a_part_each_learn_what_one_does(tmp_path, monkeypatch, kind):
    if kind == "deepspeed":
        pytest.importorskip("deepspeed", reason="needs `pip install deepspeed`")
    write_footage(tmp_path, monkeypatch)
    one = run_file(tmp_path, "one", stage=2, batch_windows=4)
    assert main(["train", "-q", str(one)]) == 0
    keys = {"batch_windows": 1, "gradient_accumulation": 2}
    launch(run_file(tmp_path, "halves", stage=2, steps=2, **keys), kind)
    launch(run_file(tmp_path, "halves", stage=2, **keys), kind)
    assert_learnt_alike(tmp_path, "halves", "one")
    # Neither process held all there is to go on from.
    state = tmp_path / "halves" / "state"
    parts = {"fsdp": "optimizer_0/__*.distcp", "deepspeed": "pytorch_model/*optim_states.pt"}
    assert len(list(state.glob(parts[kind]))) == 2
