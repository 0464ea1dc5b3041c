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


def run_file(folder: Path, name: str, *, batch_windows: int, stage: int) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(
        f'model = "wan"\nstage = {stage}\nsteps = {STEPS}\ndata = "{folder}/clips"\n'
        f'out = "{folder}/{name}"\nstart_from = "{folder}/start"\nframes = 5\ncrop = 16\n'
        f"batch_windows = {batch_windows}\nwarmup_steps = 1\nsave_steps = 1\n"
        'device = "cpu"\nbfloat16 = false\n'
    )
    return path


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
    write_clip(tmp_path / "clips", "a", size=(16, 16))
    # Frames between keyframes do not count in these: shares of a batch that weigh alike all the same.
    write_clip(tmp_path / "clips", "still", size=(16, 16), synthetic=True, interpolate=False)
    toy_pipeline(monkeypatch).save_pretrained(tmp_path / "start")
    train_together(run_file(tmp_path, "two", batch_windows=1, stage=stage))
    assert main(["train", "-q", str(run_file(tmp_path, "one", batch_windows=2, stage=stage))]) == 0
    logs = [
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("two", "one")
    ]
    for ours, theirs in zip(*logs, strict=True):
        for name, value in ours.items():
            if name != "seconds":
                assert value == pytest.approx(theirs[name], rel=1e-4), name
    ours, theirs = (load_pipeline(tmp_path / name / "last") for name in ("two", "one"))
    start = load_pipeline(tmp_path / "start")
    for name in ("cfca", "vrg", "transformer"):
        for key, value in ours.components[name].state_dict().items():
            other = theirs.components[name].state_dict()[key]
            moved = (other - start.components[name].state_dict()[key]).abs().max()
            # Rounding: sums in another order, which AdamW makes larger where gradients are about 0.
            torch.testing.assert_close(value, other, rtol=1e-5, atol=float(0.02 * moved) + 1e-9)
