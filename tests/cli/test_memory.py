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


@pytest.mark.skipif(not memory.STATUS.exists(), reason="only Linux tells the peak")
def test_the_peak_stays_after_memory_is_given_back():
    block = bytearray(b"x") * 60_000_000
    held = resident_bytes()
    del block
    assert resident_bytes() <= held - 50_000_000
    assert peak_bytes() >= held - SLACK


def test_where_the_peak_is_not_told_it_is_what_is_held(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(memory, "STATUS", tmp_path / "missing")
    assert abs(peak_bytes() - resident_bytes()) < SLACK
    (tmp_path / "status").write_text("Name:\tpython\n")
    monkeypatch.setattr(memory, "STATUS", tmp_path / "status")
    assert abs(peak_bytes() - resident_bytes()) < SLACK


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


FAULTS = """
import resource, sys, threading
import torch
from diffst_cli.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def work():
    for _ in range(40):
        first = torch.ones(2_000_000)
        second = first + 1
def both():
    thread = threading.Thread(target=work)
    work()
    thread.start()
    thread.join()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = both()
print(both() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="tells glibc")
def test_freed_memory_is_not_asked_for_again_page_by_page():
    def page_faults(kind: str) -> int:
        program = [sys.executable, "-c", FAULTS, kind]
        done = subprocess.run(program, capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert page_faults("kept") < page_faults("given back") / 3
