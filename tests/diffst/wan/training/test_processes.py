"""Two processes that train together do what one does with both their batches."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from diffst.checkpoint import load_pipeline
from diffst_cli.app import main
from tests.diffst.training.test_dataset import write_clip
from tests.diffst.wan.training.toy import toy_pipeline

STEPS = 3


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def run_file(folder: Path, name: str, *, stage: int, **keys: int) -> Path:
    """A training file of a toy run that is left in `folder/name`."""
    path = folder / f"{name}.toml"
    given = {"steps": STEPS, "batch_windows": 1, "save_steps": 1, "warmup_steps": 1} | keys
    path.write_text(
        f'model = "wan"\nstage = {stage}\ndata = "{folder}/clips"\n'
        f'out = "{folder}/{name}"\nstart_from = "{folder}/start"\nframes = 5\ncrop = 16\n'
        'device = "cpu"\nbfloat16 = false\n'
        + "".join(f"{key} = {value}\n" for key, value in given.items())
    )
    return path


def write_footage(folder: Path, monkeypatch) -> None:
    write_clip(folder / "clips", "a", size=(16, 16))
    # Frames between keyframes do not count in these: shares of a batch that weigh alike all the same.
    write_clip(folder / "clips", "still", size=(16, 16), synthetic=True, interpolate=False)
    toy_pipeline(monkeypatch).save_pretrained(folder / "start")


def assert_learnt_alike(folder: Path, ours: str, theirs: str) -> None:
    """Both runs have the same log and, to rounding, the same weights."""
    logs = [
        [json.loads(line) for line in (folder / name / "log.jsonl").read_text().splitlines()]
        for name in (ours, theirs)
    ]
    for our_line, their_line in zip(*logs, strict=True):
        for name, value in our_line.items():
            if name != "seconds":
                assert value == pytest.approx(their_line[name], rel=1e-4), name
    left, other, start = (
        load_pipeline(path)
        for path in (folder / ours / "last", folder / theirs / "last", folder / "start")
    )
    for name in ("cfca", "vrg", "transformer"):
        for key, value in left.components[name].state_dict().items():
            known = other.components[name].state_dict()[key]
            moved = (known - start.components[name].state_dict()[key]).abs().max()
            # Rounding: sums in another order, which AdamW makes larger where gradients are about 0.
            torch.testing.assert_close(value, known, rtol=1e-5, atol=float(0.02 * moved) + 1e-9)


def train_together(path: Path) -> None:
    """As `torchrun` and `accelerate launch` start it."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "diffst_cli", "train", str(path)],
            env=os.environ | place | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=280)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    assert "step 3" in said[0]
    assert said[1] == ""


@pytest.mark.slow
@pytest.mark.parametrize("stage", [1, 2])
def test_two_processes_equal_one_with_the_summed_batch(tmp_path, monkeypatch, stage):
    write_footage(tmp_path, monkeypatch)
    train_together(run_file(tmp_path, "two", stage=stage))
    alone = {
        "summed": run_file(tmp_path, "summed", stage=stage, batch_windows=2),
        "one by one": run_file(tmp_path, "one by one", stage=stage, gradient_accumulation=2),
    }
    for name, path in alone.items():
        assert main(["train", "-q", str(path)]) == 0
        assert_learnt_alike(tmp_path, "two", name)
