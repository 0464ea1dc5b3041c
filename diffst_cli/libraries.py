"""What models are made of, imported no earlier than it is needed."""

from __future__ import annotations

import gc
import sys

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
