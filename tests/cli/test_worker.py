"""A worker process whose parent is gone."""

from pathlib import Path

import pytest

from diffst_cli.job import UpscaleJob
from diffst_cli.worker import serve
from tests.fakes import BilinearModel


class Severed:
    """A line whose other end is gone."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.told: list[str] = []

    def send(self, message: object) -> None:
        self.told.append(type(message).__name__)

    def receive(self):
        raise self.error


@pytest.mark.parametrize("error", [EOFError, BrokenPipeError, ConnectionResetError])
def test_a_worker_whose_parent_is_gone_leaves_without_a_word(error, tmp_path: Path):
    line = Severed(error())
    job = UpscaleJob(input=tmp_path / "in.mp4", output=tmp_path / "out.mp4", device="cpu")
    serve(line, lambda _: BilinearModel(), job)
    assert line.told == ["Ready"]


def test_a_worker_that_fails_says_so(tmp_path: Path):
    line = Severed(ValueError("odd"))
    job = UpscaleJob(input=tmp_path / "in.mp4", output=tmp_path / "out.mp4", device="cpu")
    serve(line, lambda _: BilinearModel(), job)
    assert line.told == ["Ready", "Failed"]
