"""Which files a batch takes, and which it says something about."""

import os
from pathlib import Path

import pytest

from diffst_cli import batch
from diffst_cli.batch import find_jobs, run_batch
from diffst_cli.job import UpscaleJob
from diffst_cli.progress import Reporter


def test_a_folder_inside_a_folder_of_its_name_is_fine_where_outputs_go_elsewhere(tmp_path: Path):
    folder = tmp_path / "in"
    (folder / "in").mkdir(parents=True)
    (folder / "in" / "a.mkv").touch()
    (job,) = find_jobs(UpscaleJob(input=folder, output=tmp_path / "out"), None)
    assert job.output == tmp_path / "out" / "in" / "a.mkv"


def test_a_file_written_over_in_the_same_size_has_changed(tmp_path: Path):
    path = tmp_path / "a.mkv"
    path.write_bytes(b"1")
    before = batch._stamp(path)
    os.utime(path, (1, 1))
    assert batch._stamp(path) != before


class Warned(Reporter):
    """Keeps what it warns of."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


@pytest.mark.parametrize(("changed", "is_told"), [(1, False), (2, False), (3, True)])
def test_an_output_of_an_input_that_changed_since_is_left_and_told(
    tmp_path: Path, changed: int, is_told: bool
):
    job = UpscaleJob(input=tmp_path / "a.ts", output=tmp_path / "a.ts.mkv")
    for path, time in ((job.input, changed), (job.output, 2)):
        path.touch()
        os.utime(path, (time, time))
    reporter = Warned()
    (result,) = run_batch([job], reporter=reporter)
    assert not result.failed
    assert len(reporter.warnings) == is_told
    if is_told:
        assert reporter.warnings[0] == (
            f"`{job.input}` is newer than `{job.output}`, which is left as it is: "
            "remove that to have it made again"
        )
