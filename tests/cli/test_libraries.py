"""Importing what models are made of."""

import subprocess
import sys

LOOKED_ON = """
import gc, sys
from diffst_cli.libraries import load_libraries
seen = []
gc.callbacks.append(lambda phase, info: seen.append(phase))
load_libraries()
print(len(seen), gc.isenabled(), "diffst.pipeline" in sys.modules, "torch" in sys.modules)
"""


def test_nothing_is_collected_while_they_are_imported():
    done = subprocess.run(
        [sys.executable, "-c", LOOKED_ON], capture_output=True, text=True, check=True
    )
    assert done.stdout == "0 True True True\n"
