"""In which order a batch begins and ends files that workers share; journeys and workers only pretend."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from diffst_cli import batch
from diffst_cli.app import main
from diffst_cli.errors import UserError
from diffst_cli.job import UpscaleJob
from diffst_cli.progress import Reporter
from tests.cli.test_batch import Going, Runs, touch


class Shared(Going):
    """A journey that is made when the crew says so."""

    is_made = False

    def begin(self, model: object, crew: object) -> None:
        assert isinstance(crew, Workers)
        crew.at_work.append(self)
        crew.did.append(f"begin {self._job.input.name}")
        if self._job.input.name.startswith("bad"):
            crew.at_work.remove(self)
            raise UserError("no video stream")
        self._crew = crew

    def complete(self) -> Any:
        assert self.is_made
        self._crew.did.append(f"end {self._job.input.name}")
        self._crew.at_work.remove(self)
        return super().complete()

    def close(self, *error: Any) -> None:
        assert self._crew.is_stopped
        self._crew.did.append(f"close {self._job.input.name} for {error[0].__name__}")


class Workers:
    """A crew for two files at a time, of which the later one is made first each time that somebody waits."""

    def __init__(self) -> None:
        self.at_work: list[Shared] = []
        self.did: list[str] = []
        self.is_stopped = False

    def muster(self) -> None:
        self.did.append("muster")

    @property
    def wants_more(self) -> bool:
        return len([one for one in self.at_work if not one.is_made]) < 2

    def wait_for(self, is_so: Callable[[], bool], _timeout_seconds: float) -> None:
        if not is_so():
            self.at_work[-1].is_made = True

    def stop(self) -> None:
        self.is_stopped = True


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workers]:
    runs, workers = Runs(monkeypatch), Workers()

    def new_journey(job: UpscaleJob, reporter: Reporter, name: str) -> Shared:
        return Shared(runs, job, reporter, name)

    monkeypatch.setattr(batch, "Journey", new_journey)
    monkeypatch.setattr(batch, "new_crew", lambda _job: workers)
    yield workers
    assert workers.is_stopped


def line(folder: Path, *more: str) -> list[str]:
    return ["batch", str(folder / "in"), str(folder / "out"), "-q", "--devices", "cpu:2", *more]


def test_files_are_begun_as_workers_want_more_and_made_ones_ended_first(
    tmp_path: Path, workers: Workers
):
    touch(tmp_path / "in", "a.mp4", "bad.mp4", "c.mp4", "d.mp4")
    assert main(line(tmp_path)) == 1
    assert workers.did == [
        "muster", "begin a.mp4", "begin bad.mp4", "begin c.mp4",
        "end c.mp4", "begin d.mp4", "end d.mp4", "end a.mp4",
    ]  # fmt: skip


def test_an_interrupt_ends_the_workers_and_lets_go_of_every_file(
    tmp_path: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch
):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(workers, "wait_for", interrupt)
    touch(tmp_path / "in", "a.mp4", "b.mp4", "c.mp4")
    assert main(line(tmp_path)) == 130
    assert workers.did[3:] == [f"close {name}.mp4 for KeyboardInterrupt" for name in "ab"]


def test_a_watched_folder_ends_files_while_none_comes(
    tmp_path: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch
):
    touch(tmp_path / "in", "a.mp4")
    num_sleeps = 0

    def look_again(_seconds: float) -> None:
        nonlocal num_sleeps
        num_sleeps += 1
        if num_sleeps == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", look_again)
    assert main(line(tmp_path, "--watch")) == 130
    assert workers.did == ["muster", "begin a.mp4", "end a.mp4"]


def test_a_file_that_changes_while_it_is_made_waits_for_its_turn(
    tmp_path: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch
):
    source = tmp_path / "in" / "a.mp4"
    touch(tmp_path / "in", "a.mp4")
    monkeypatch.setattr(batch, "SETTLED_SECONDS", 0.0)
    num_looks = 0
    find = batch.find_jobs

    def look(*arguments: Any, **options: Any) -> list[UpscaleJob]:
        nonlocal num_looks
        num_looks += 1
        if num_looks == 3:
            source.write_bytes(b"changed while it is at work")
        elif num_looks == 6:
            raise KeyboardInterrupt
        return find(*arguments, **options)

    monkeypatch.setattr(batch, "find_jobs", look)
    assert main(line(tmp_path, "--watch", "--overwrite")) == 130
    assert workers.did[:4] == ["muster", "begin a.mp4", "end a.mp4", "begin a.mp4"]
