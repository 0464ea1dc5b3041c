import platform
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from diffst_cli import memory
from diffst_cli.memory import peak_bytes, resident_bytes, tree_bytes

SLACK = 10_000_000  # bytes; a running process is never quite still


def test_memory_is_that_of_this_process():
    assert abs(resident_bytes() - psutil.Process().memory_info().rss) < SLACK


PEAK = """
from diffst_cli.memory import peak_bytes, resident_bytes
block = bytearray(b"x") * 60_000_000
held = resident_bytes()
del block
print(held, resident_bytes(), peak_bytes())
"""


def numbers(*program: str) -> list[int]:
    """What a program prints, in a process that nothing else has told to keep what is freed."""
    done = subprocess.run(
        [sys.executable, "-c", *program], capture_output=True, text=True, check=True
    )
    return [int(word) for word in done.stdout.split()]


@pytest.mark.skipif(not memory.STATUS.exists(), reason="only Linux tells the peak")
def test_the_peak_stays_after_memory_is_given_back():
    held, left, peak = numbers(PEAK)
    assert left <= held - 50_000_000
    assert peak >= held - SLACK


@pytest.mark.skipif(not memory.STATUS.exists(), reason="only Linux tells the peak twice")
def test_where_the_peak_is_not_told_there_it_is_what_the_system_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    told = peak_bytes()
    monkeypatch.setattr(memory, "STATUS", tmp_path / "missing")
    assert peak_bytes() >= told - SLACK  # what the program before `exec` held counts here too
    (tmp_path / "status").write_text("Name:\tpython\n")
    monkeypatch.setattr(memory, "STATUS", tmp_path / "status")
    assert peak_bytes() >= told - SLACK
    monkeypatch.setattr(sys, "platform", "darwin")  # which counts bytes
    assert peak_bytes() <= told / 100


def test_a_tree_holds_what_its_processes_hold():
    child = "block = b'x' * 60_000_000; print('ready', flush=True); input()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert tree_bytes(process.pid) > 60_000_000
        process.communicate(b"\n")
    assert tree_bytes(process.pid) == 0


FREEING = """
import sys, threading
import torch
from diffst_cli.memory import keep_freed_memory, resident_bytes
if sys.argv[1] == "kept":
    keep_freed_memory()
given_back = 0
def work():
    global given_back
    for _ in range(40):
        first = torch.ones(2_000_000)
        second = first + 1
        held = resident_bytes()
        del first, second
        given_back += max(0, held - resident_bytes())
work()
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(given_back)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="tells glibc")
def test_freed_memory_is_not_given_back():
    (kept,), (as_it_comes,) = (numbers(FREEING, kind) for kind in ("kept", "as it comes"))
    assert kept < 1_000_000 < as_it_comes
