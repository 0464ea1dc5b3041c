import sys
from pathlib import Path

import psutil
import pytest

from diffst_cli.evaluation import costs
from diffst_cli.evaluation.costs import Finished, run_measured


def run_python(program: str) -> Finished:
    return run_measured([sys.executable, "-c", program])


def test_the_exit_code_and_the_messages_come_back():
    done = run_python(
        "import sys; print('not this'); print('no GPU', file=sys.stderr); sys.exit(3)"
    )
    assert (done.exit_code, done.messages.strip()) == (3, "no GPU")


def test_sleep_takes_time_but_no_cpu():
    busy = run_python("import time\nwhile time.process_time() < 0.5: pass")
    idle = run_python("import time; time.sleep(0.5)")
    assert min(busy.cost.seconds, idle.cost.seconds) > 0.5
    assert busy.cost.cpu_seconds > 0.5
    assert busy.cost.cpu_seconds > idle.cost.cpu_seconds + 0.3


def test_children_count_for_time_and_memory():
    child = "import time; block = b'x' * 80_000_000; time.sleep(0.5)\nwhile time.process_time() < 0.4: pass"
    cost = run_python(
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    ).cost
    assert cost.peak_bytes > 80_000_000
    assert cost.cpu_seconds > 0.4


@pytest.mark.parametrize("deaf", [False, True])
def test_an_interrupt_ends_what_the_program_started_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaf: bool
):
    monkeypatch.setattr(costs, "GRACE_SECONDS", 0.5)
    known = tmp_path / "child"
    child = "trap '' TERM; " if deaf else ""
    script = f"sh -c '{child}echo $$ > {known}.new; mv {known}.new {known}; sleep 60' & wait"

    def interrupted(_: int) -> int:
        if known.exists():
            raise KeyboardInterrupt
        return 0

    monkeypatch.setattr(costs, "tree_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_measured(["sh", "-c", script])
    _, alive = psutil.wait_procs(_process(int(known.read_text())), timeout=5)
    assert alive == []


def _process(pid: int) -> list[psutil.Process]:
    """The process of that number, or none."""
    return [psutil.Process(pid)] if psutil.pid_exists(pid) else []


def test_a_program_that_is_not_there_is_an_os_error():
    with pytest.raises(FileNotFoundError):
        run_measured(["/nowhere/program"])
