"""What models are made of, imported no earlier than it is needed."""

from __future__ import annotations

import gc
import os
import sys

from diffst_cli.allowance import num_cores
from diffst_cli.interrupts import interrupts_deferred


def load_libraries() -> None:
    """Import torch, diffusers and our pipelines, which takes seconds the first time.

    The garbage collector would run hundreds of times over what was just made, and find nothing: a sixth of the start.
    """
    if "diffst.pipeline" in sys.modules:
        return
    gc.disable()
    try:
        with interrupts_deferred():  # an interrupt within torch's own start can end in an abort
            import diffst.pipeline  # noqa: F401
    finally:
        gc.enable()
    gc.freeze()  # nor need it look there again
    _share_cores()


def _share_cores() -> None:
    """Have torch take no more threads than cores that a container allows, of which it knows nothing."""
    import torch

    cores = num_cores()
    if torch.get_num_threads() > cores and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(cores)
