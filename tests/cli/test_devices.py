"""Several worker processes: the same file as one, whatever happens to them."""

import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import psutil
import pytest

from diffst_cli import crew, run, segments, shots
from diffst_cli.errors import UsageError, UserError
from diffst_cli.job import UpscaleJob, parse_devices
from diffst_cli.reader import Frame, FrameReader
from diffst_cli.run import run_job
from tests import fakes
from tests.cli.test_run import Notes
from tests.media import make_video


@pytest.fixture(autouse=True)
def short_segments(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(segments, "MIN_KEYFRAMES", 4)
    monkeypatch.setattr(segments, "MAX_KEYFRAMES", 6)
    before = psutil.Process().children(recursive=True)
    yield
    children = psutil.Process().children(recursive=True)
    # multiprocessing's own, which ends with us, is there as long as we are.
    left = [child for child in children if "resource_tracker" not in " ".join(child.cmdline())]
    assert [child for child in left if child not in before] == []


@pytest.fixture
def asked(tmp_path: Path) -> UpscaleJob:
    """24 frames in one shot, for two processes."""
    source = make_video(tmp_path / "clip.mp4", size=(32, 24), num_frames=24)
    values: dict[str, Any] = {"scale": Fraction(2), "fps_x": Fraction(2)}
    return UpscaleJob(input=source, output=tmp_path / "out.mp4", devices=("cpu", "cpu"), **values)


def alone(asked: UpscaleJob) -> bytes:
    """What one process makes."""
    output = asked.output.with_name("alone.mp4")
    single = replace(asked, output=output, devices=(), device="cpu")
    assert run_job(single, model=fakes.BilinearModel()).receipt.ok
    return output.read_bytes()


def test_two_processes_one_of_which_is_killed_make_the_file_of_one(
    asked: UpscaleJob, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(run, "open_model", fakes.open_mortal)
    notes = Notes()
    summary = run_job(asked, reporter=notes)
    (warning,) = notes.warnings
    assert warning == "the worker on `cpu` ended with status -9; its segment is dealt again"
    assert summary.receipt.ok
    assert notes.counts[-1][0] == summary.frames_out == 48
    assert {"read", "model", "write", "scan"} <= set(summary.stage_seconds)
    assert asked.output.read_bytes() == alone(asked)


def press_ctrl_c() -> None:
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def fail() -> None:
    raise UserError("the disk is full")


class Stopping(Notes):
    """Stops the run, in whatever way, as soon as a piece is finished."""

    def __init__(self, stop: Callable[[], None]) -> None:
        super().__init__()
        self._stops = [stop]

    def within(self, frames: float) -> None:
        if frames == 0 and self._stops:  # told after each piece
            self._stops.pop()()


@pytest.mark.slow
@pytest.mark.parametrize(("stop", "raised"), [(press_ctrl_c, KeyboardInterrupt), (fail, UserError)])
def test_a_run_that_is_stopped_while_the_input_is_looked_through_goes_on_to_its_end(
    stop: Callable[[], None],
    raised: type[BaseException],
    asked: UpscaleJob,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(run, "open_model", fakes.open_bilinear)
    closed = threading.Event()
    close, split = FrameReader.close, shots.split_shots

    def noted(reader: FrameReader) -> None:
        close(reader)
        closed.set()

    def halting(frames: Iterator[Frame]) -> Iterator[tuple[Frame, bool]]:
        for item in split(frames):
            if item[0].index == 15:  # of 24
                assert closed.wait(60)
            yield item

    with monkeypatch.context() as patch:
        patch.setattr(FrameReader, "close", noted)
        patch.setattr(shots, "split_shots", halting)
        with pytest.raises(raised):
            run_job(asked, reporter=Stopping(stop))
    summary = run_job(asked)
    assert summary.receipt.ok
    assert 0 < summary.frames_resumed < summary.frames_out == 48
    assert asked.output.read_bytes() == alone(asked)


@pytest.mark.slow
def test_processes_tell_how_far_their_models_are(
    asked: UpscaleJob, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(run, "open_model", fakes.open_telling)
    notes = Notes()
    assert run_job(asked, reporter=notes).receipt.ok
    assert {f"upscaling, 2 workers, denoise {n}/2" for n in range(2)} < set(notes.stages)
    assert max(notes.within_clip) > 0
    assert notes.within_clip[-1] == 0  # nothing is at hand any more
    assert notes.stages[-1] == "finishing"


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_number_of_processes_is_not_seen_in_the_file(
    count: int, asked: UpscaleJob, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(run, "open_model", fakes.open_bilinear)
    notes = Notes()
    assert run_job(replace(asked, devices=("cpu",) * count), reporter=notes).receipt.ok
    assert notes.warnings == []
    assert asked.output.read_bytes() == alone(asked)


@pytest.mark.slow
def test_a_process_that_hangs_is_replaced(asked: UpscaleJob, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(run, "open_model", fakes.open_hanging)
    monkeypatch.setattr(crew, "SILENT_SECONDS", 15.0)
    notes = Notes()
    assert run_job(asked, reporter=notes).receipt.ok
    assert any("was silent for 15 s" in warning for warning in notes.warnings)
    assert asked.output.read_bytes() == alone(asked)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("open_model", "message"),
    [
        (fakes.open_deadly, "segment 0 ended 3 worker processes"),
        (fakes.open_broken, "the disk is full"),
        (run.open_model, "no `model_index.json` in `.`"),
    ],
)
def test_what_cannot_be_made_ends_the_run(
    open_model: Callable[[UpscaleJob], Any],
    message: str,
    asked: UpscaleJob,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(run, "open_model", open_model)
    model = "." if "`.`" in message else "nano"
    with pytest.raises(UserError, match=message):
        run_job(replace(asked, devices=("cpu",), model=model))
    assert not asked.output.exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", ("cuda:0",)),
        ("0,2", ("cuda:0", "cuda:2")),
        ("cuda:1, cuda:0", ("cuda:1", "cuda:0")),
        ("cpu", ("cpu",)),
        ("cpu:3", ("cpu",) * 3),
        ("0,cpu", ("cuda:0", "cpu")),
    ],
)
def test_devices_are_read(text: str, expected: tuple[str, ...]):
    assert parse_devices(text, "--devices") == expected


@pytest.mark.parametrize("text", ["", "x", "0,,1", "cpu:0", "0,0", "cuda:1,1", "-1", "mps:2"])
def test_devices_that_make_no_sense_are_refused(text: str):
    with pytest.raises(UsageError, match="--devices"):
        parse_devices(text, "--devices")


def test_one_device_and_several_exclude_each_other():
    with pytest.raises(UsageError, match="exclude each other"):
        UpscaleJob(input=Path("a"), output=Path("b"), device="cpu", devices=("cpu",))
