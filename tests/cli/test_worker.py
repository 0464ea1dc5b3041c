"""A worker whose parent is gone, or whose step fails."""

import multiprocessing
import threading
from pathlib import Path

import pytest

from diffst_cli.job import UpscaleJob
from diffst_cli.worker import Ready, _Connected, serve
from tests.fakes import BilinearModel


class Severed:
    """A line on which an error comes instead of an order."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.told: list[str] = []

    def send(self, message: object) -> None:
        self.told.append(type(message).__name__)

    def receive(self):
        raise self.error


@pytest.fixture
def job(tmp_path: Path) -> UpscaleJob:
    return UpscaleJob(input=tmp_path / "in.mp4", output=tmp_path / "out.mp4", device="cpu")


@pytest.mark.parametrize("when", ["before it is ready", "before there is anything to do"])
def test_a_worker_whose_parent_is_gone_leaves_without_a_word(when: str, job: UpscaleJob):
    here, there = multiprocessing.Pipe()
    line = _Connected(there)

    def open_model(_job: UpscaleJob) -> BilinearModel:
        if when == "before it is ready":
            here.close()
        return BilinearModel()

    serving = threading.Thread(target=serve, args=(line, open_model, job), daemon=True)
    serving.start()
    if when == "before there is anything to do":
        assert isinstance(here.recv(), Ready)
        here.close()
    serving.join(5)
    assert not serving.is_alive()


@pytest.mark.parametrize("error", [EOFError, BrokenPipeError, ConnectionResetError])
def test_a_broken_pipe_of_a_step_is_no_parent_that_is_gone(error, job: UpscaleJob):
    line = Severed(ValueError())

    def open_badly(_job: UpscaleJob) -> BilinearModel:
        raise error

    serve(line, open_badly, job)
    assert line.told == ["Failed"]


def test_a_worker_that_fails_says_so(job: UpscaleJob):
    line = Severed(ValueError("odd"))
    serve(line, lambda _: BilinearModel(), job)
    assert line.told == ["Ready", "Failed"]
