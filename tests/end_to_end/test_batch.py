"""A folder made by processes that share the segments of all its files, whatever happens to them."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import psutil
import pytest

from diffst_cli import batch, run, segments
from diffst_cli.batch import find_jobs, run_batch
from diffst_cli.job import UpscaleJob
from diffst_cli.run import run_job
from tests import fakes
from tests.cli.test_run import Notes
from tests.end_to_end.command import TIMEOUT_SECONDS, environment, names
from tests.end_to_end.test_kill import damage
from tests.media import make_video

ROOT = Path(__file__).parents[2]
# The real command with a slow model of a few operations, and short segments.
PROGRAM = (
    "import sys\n"
    "from diffst_cli import run, segments\n"
    "from diffst_cli.app import main\n"
    "from tests import fakes\n"
    "segments.MIN_KEYFRAMES, segments.MAX_KEYFRAMES = 4, 6\n"
    "run.open_model = fakes.open_slow\n"
    "if __name__ == '__main__':\n"
    "    sys.exit(main())\n"
)
LINE = (
    "batch",
    "in",
    "out",
    "--scale",
    "2",
    "--fps-x",
    "2",
    "--devices",
    "cpu:2",
    "--log",
    "log.jsonl",
)
FILES = {"a.mp4": 6, "b.mkv": 16, "day 1/c.mp4": 5, "day 1/d.mp4": 7, "e.mp4": 16}
"""Of the folder, with how many frames each has: one segment, or about three."""
MOST_PIECES = 3  # of a file
NUM_KILLS = 20


@pytest.fixture
def template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UpscaleJob:
    """What is asked of every file of a folder, of which there are as many as in `FILES`."""
    for number, (name, num_frames) in enumerate(FILES.items()):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        make_video(path, size=(32, 24), num_frames=num_frames, filters=f"hue=h={50 * number}")
    monkeypatch.setattr(segments, "MIN_KEYFRAMES", 4)
    monkeypatch.setattr(segments, "MAX_KEYFRAMES", 6)
    values = {"scale": Fraction(2), "fps_x": Fraction(2)}
    return UpscaleJob(input=tmp_path / "in", output=tmp_path / "out", **values)  # type: ignore[arg-type]


def alone(template: UpscaleJob) -> dict[str, bytes]:
    """What one process makes of each file by itself."""
    made = {}
    for job in find_jobs(template, None):
        single = replace(job, output=template.output.parent / f"alone{job.output.suffix}")
        run_job(replace(single, device="cpu"), model=fakes.BilinearModel())
        made[str(job.input.relative_to(template.input))] = single.output.read_bytes()
        single.output.unlink()
    return made


def outputs(folder: Path) -> dict[str, bytes]:
    """All there is in the folder of outputs, hidden things too."""
    return {
        name: (folder / name).read_bytes() for name in names(folder) if (folder / name).is_file()
    }


def checks(log: Path) -> dict[str, object]:
    """What the receipts in a log tell of the outputs, by name."""
    told: dict[str, object] = {}
    for line in map(json.loads, log.read_text("utf-8").splitlines()):
        receipt = line["receipt"]
        told[Path(line["output"]).name] = (
            line["ok"],
            receipt["checks"],
            receipt["frames_in"],
            receipt["frames_out"],
        )
    return told


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_the_number_of_processes_is_not_seen_in_files_nor_receipts(
    count: int, template: UpscaleJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(run, "open_model", fakes.open_bilinear)
    shared = replace(template, devices=("cpu",) * count)
    notes, logs = Notes(), [tmp_path / "many.log", tmp_path / "one.log"]
    results = run_batch(find_jobs(shared, None), reporter=notes, log_file=logs[0])
    assert [str(result.job.input.relative_to(template.input)) for result in results] == [*FILES]
    assert outputs(template.output) == alone(template)
    assert notes.warnings == []
    monkeypatch.setattr(batch, "open_model", fakes.open_bilinear)
    single = replace(template, output=tmp_path / "one", device="cpu")
    run_batch(find_jobs(single, None), reporter=Notes(), log_file=logs[1])
    assert checks(logs[0]) == checks(logs[1])


@pytest.mark.slow
def test_files_of_one_segment_are_made_side_by_side(
    template: UpscaleJob, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(run, "open_model", fakes.open_meeting)
    jobs = find_jobs(replace(template, devices=("cpu", "cpu")), "*.mp4")[:2]
    results = run_batch(jobs, reporter=Notes())
    assert [result.failed for result in results] == [False, False]


@pytest.mark.slow
def test_copies_of_one_file_are_made_side_by_side_in_one_work_folder(
    template: UpscaleJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(run, "open_model", fakes.open_meeting)
    for name in ("f/a.mp4", "g/a.mp4"):
        (tmp_path / "in" / name).parent.mkdir()
        shutil.copy2(tmp_path / "in" / "a.mp4", tmp_path / "in" / name)
    (tmp_path / "work").mkdir()
    shared = replace(template, devices=("cpu", "cpu"), work_folder=tmp_path / "work")
    notes = Notes()
    results = run_batch(find_jobs(shared, "[fg]/*.mp4"), reporter=notes)
    assert [result.failed for result in results] == [False, False]
    assert notes.warnings == []


def start(folder: Path) -> subprocess.Popen[str]:
    (folder / "program.py").write_text(PROGRAM, encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, "program.py", *LINE],
        cwd=folder,
        env={**environment(), "PYTHONPATH": f"{ROOT}:{ROOT / 'models'}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def finish(folder: Path) -> str:
    with start(folder) as process:
        _, told = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 0, told
    return told


def pieces(folder: Path) -> list[Path]:
    found = folder.glob("out/**/.*.diffst-*/0*")
    return sorted(found, key=lambda path: path.stat().st_mtime)


def is_so_far(folder: Path, share: float) -> bool:
    """Whether about this share of the batch is made."""
    num_files = sum((folder / "out" / name).is_file() for name in FILES)
    return len(pieces(folder)) + MOST_PIECES * num_files >= share * MOST_PIECES * len(FILES)


def wait_for(is_so: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not is_so() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_batch_that_is_killed_again_and_again_ends_the_same(template: UpscaleJob, tmp_path: Path):
    expected = alone(template)
    chance = random.Random(NUM_KILLS)
    most_open = 0
    for number in range(NUM_KILLS):
        with start(tmp_path) as process:
            wait_for(partial(is_so_far, tmp_path, number / NUM_KILLS), process)
            time.sleep(chance.uniform(0, 1.5))
            process.kill()
        most_open = max(most_open, len(list(tmp_path.glob("out/**/.*.diffst-*"))))
        damage(pieces(tmp_path), chance)
    finish(tmp_path)
    assert outputs(tmp_path / "out") == expected
    assert most_open > 1, "files were not made side by side"
    told = finish(tmp_path)
    assert told.count("skipped: already there") == len(FILES)


@pytest.mark.slow
def test_an_interrupt_keeps_finished_pieces(template: UpscaleJob, tmp_path: Path):
    with start(tmp_path) as process:
        wait_for(lambda: any((tmp_path / "out").glob(".b.diffst-*/0*")), process)
        running = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 130, told
    assert told.splitlines()[-1] == "error: interrupted"
    assert "finished frames; the same command goes on" in told
    assert "Traceback" not in told
    assert "its segment is dealt again" not in told
    assert not [name for name in outputs(tmp_path / "out") if ".part-" in name]
    _, alive = psutil.wait_procs(running, timeout=10)
    assert alive == []
    told = finish(tmp_path)
    assert "going on with the work in" in told
    assert outputs(tmp_path / "out") == alone(template)
