"""Batches that other processes make ahead."""

import subprocess
import sys

ROUNDS = """
from functools import partial
import torch
from diffst.training.ahead import made_ahead
if __name__ == "__main__":
    for _ in range(4):
        batches = made_ahead(partial(torch.full, (40, 3, 256, 256)), first_step=0, num_workers=2)
        next(batches), next(batches)
        del batches
"""


def test_processes_that_are_at_work_end_quietly(tmp_path):
    """Each round ends while they hand batches over; spawned, about one process in four was aborted then."""
    script = tmp_path / "rounds.py"
    script.write_text(ROUNDS)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
