"""Importing what models are made of."""

import subprocess
import sys

import pytest

LOOKED_ON = """
import gc, sys
from diffst_cli.libraries import load_libraries
seen = []
gc.callbacks.append(lambda phase, info: seen.append(phase))
load_libraries()
print(len(seen), gc.isenabled(), "diffst.pipeline" in sys.modules, "torch" in sys.modules)
"""


INTERRUPTED = """
import signal, sys
from pathlib import Path
from diffst_cli.interrupts import interrupts_raise
from diffst_cli.job import UpscaleJob
from diffst_cli.libraries import load_libraries
from diffst_cli.run import open_model

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
try:
    with interrupts_raise():
        STEP
        print("went on")
except KeyboardInterrupt:
    print("interrupted", "diffst.pipeline" in sys.modules)
"""


@pytest.mark.parametrize(
    "step", ["load_libraries()", "open_model(UpscaleJob(input=Path('a'), output=Path('b')))"]
)
def test_an_interrupt_while_they_are_imported_is_raised_after_it(step: str):
    program = INTERRUPTED.replace("STEP", step)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "interrupted True\n"), done.stderr


def test_nothing_is_collected_while_they_are_imported():
    done = subprocess.run(
        [sys.executable, "-c", LOOKED_ON], capture_output=True, text=True, check=True
    )
    assert done.stdout == "0 True True True\n"
