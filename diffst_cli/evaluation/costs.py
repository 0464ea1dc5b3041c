"""What a program costs from its start to its end, with all it starts: time and memory."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from diffst_cli.memory import tree_bytes

FIRST_SAMPLE_SECONDS = 0.005  # until the second look at the memory; each next wait is twice as long
SAMPLE_SECONDS = 0.1  # at most
GRACE_SECONDS = 5.0  # that a program which is interrupted has for its clean-up


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one run took."""

    seconds: float
    """Wall clock, start and end of the program included."""
    cpu_seconds: float
    """Of all cores, by the program and what it started and waited for; less moved by other work on the machine."""
    peak_bytes: int
    """Most memory held at one time by the program and all it started, as sampled."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A program that has ended."""

    exit_code: int
    """0 is success; negative is the signal that ended it."""
    messages: str
    """Its standard error."""
    cost: Cost
    """What it took."""


def run_measured(command: Sequence[str]) -> Finished:
    """Run a program without input, and measure it.

    Args:
        command: Program and arguments; its standard output is thrown away.

    Raises:
        OSError: It cannot be started.
    """
    with tempfile.TemporaryFile() as log:
        start, cpu_start = time.perf_counter(), _children_cpu_seconds()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,  # so that all it starts can be ended with it
        )
        try:
            peak_bytes = _watch(process)
        except BaseException:
            _end(process)
            raise
        cost = Cost(
            seconds=time.perf_counter() - start,
            cpu_seconds=_children_cpu_seconds() - cpu_start,
            peak_bytes=peak_bytes,
        )
        log.seek(0)
        messages = log.read().decode(errors="replace")
    return Finished(exit_code=process.returncode, messages=messages, cost=cost)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program and all it started: first ask, so that they may clean up."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _children_cpu_seconds() -> float:
    """What all ended children of this process, and theirs, have used so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _watch(process: subprocess.Popen[bytes]) -> int:
    """Wait for the end of a process; the most bytes that it and its children held."""
    peak_bytes, pause = 0, FIRST_SAMPLE_SECONDS
    while True:
        peak_bytes = max(peak_bytes, tree_bytes(process.pid))
        try:
            process.wait(pause)
        except subprocess.TimeoutExpired:
            pause = min(2 * pause, SAMPLE_SECONDS)
            continue
        return peak_bytes
