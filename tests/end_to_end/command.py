"""The command line as a user runs it: another process, and what it leaves behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

COMMAND = (sys.executable, "-m", "diffst_cli")
TIMEOUT_SECONDS = 900


def environment() -> dict[str, str]:
    """Ours, with one thread: the clips are too small to share, and tests may run side by side."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def diffst(*arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs `diffst` with `folder` as its working directory."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
    )


def start(*arguments: str | Path, folder: Path) -> subprocess.Popen[str]:
    """Starts `diffst`, which hears Ctrl-C even when the tests themselves run in the background."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def names(folder: Path) -> set[str]:
    """Everything in a folder, hidden files and subfolders too."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}
