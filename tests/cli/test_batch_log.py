import json
import resource
from pathlib import Path

import pytest

from diffst_cli.app import main
from diffst_cli.batch_log import append_line
from diffst_cli.errors import UserError
from tests.cli.test_batch import Runs, touch


def test_a_line_that_is_not_written_whole_is_taken_back(tmp_path: Path):
    log = tmp_path / "log.jsonl"
    append_line(log, {"input": "a.mp4"})
    before, limit = log.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 5, limit[1]))
    try:
        with pytest.raises(UserError, match=r"cannot write the log `.*log.jsonl`: File too large"):
            append_line(log, {"input": "b.mp4"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert log.read_bytes() == before


@pytest.mark.parametrize(
    ("before", "lines"),
    [("", []), ('{"input": "a.mp4"}', ['{"input": "a.mp4"}']), ('{"inp', ['{"inp'])],
)
def test_a_line_begins_where_the_last_one_ends(before: str, lines: list[str], tmp_path: Path):
    log = tmp_path / "log.jsonl"
    log.write_text(before, encoding="utf-8")
    append_line(log, {"input": "b.mp4"})
    assert log.read_text(encoding="utf-8").splitlines() == [*lines, '{"input": "b.mp4"}']


def test_a_name_that_is_no_text_is_escaped(tmp_path: Path):
    log = tmp_path / "log.jsonl"
    append_line(log, {"input": "b\udce9.mp4"})
    assert json.loads(log.read_text(encoding="utf-8")) == {"input": "b\udce9.mp4"}


def test_a_stream_is_written_to(capfd: pytest.CaptureFixture[str]):
    append_line(Path("/dev/stderr"), {"input": "a.mp4"})
    assert capfd.readouterr().err == '{"input": "a.mp4"}\n'


def test_a_log_that_cannot_be_written_ends_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    runs = Runs(monkeypatch)
    touch(tmp_path / "in", "a.mp4", "b.mp4")
    log = tmp_path / "log.jsonl"
    log.symlink_to(tmp_path / "gone" / "log.jsonl")
    line = ["batch", str(tmp_path / "in"), str(tmp_path / "out"), "-q", "--log", str(log)]
    assert main(line) == 1
    assert "cannot write the log" in capsys.readouterr().err
    assert runs.done == ["a.mp4"]
