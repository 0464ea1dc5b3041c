"""Finding ffmpeg, and running it closed and without hanging."""

import stat
import time
from pathlib import Path

import pytest

from diffst_cli.errors import UserError
from diffst_cli.ffmpeg import (
    PATH_VARIABLE,
    FfmpegProcess,
    error_lines,
    ffmpeg_path,
    file_argument,
    read_version,
)


@pytest.fixture
def fresh_search():
    """Search for ffmpeg anew in the test, and again after it."""
    ffmpeg_path.cache_clear()
    yield
    ffmpeg_path.cache_clear()


def fake_ffmpeg(folder: Path, first_line: str) -> Path:
    path = folder / "ffmpeg"
    path.write_text(f"#!/bin/sh\necho '{first_line}'\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.usefixtures("fresh_search")
def test_without_a_system_ffmpeg_the_bundled_one_is_used(monkeypatch, tmp_path):
    monkeypatch.delenv(PATH_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "imageio_ffmpeg" in str(ffmpeg_path())
    assert read_version(ffmpeg_path()) is not None


@pytest.mark.usefixtures("fresh_search")
@pytest.mark.parametrize(
    ("first_line", "is_used"),
    [
        ("ffmpeg version 4.4.2-0ubuntu0.22.04.1 Copyright", False),
        ("ffmpeg version 7.0.2-static Copyright", False),
        ("ffmpeg version n7.1 Copyright", True),
        ("ffmpeg version N-113007-g8d24a28d06 Copyright", True),
        ("something else", False),
    ],
)
def test_the_system_ffmpeg_is_used_when_it_is_new_enough(
    monkeypatch, tmp_path, first_line, is_used
):
    monkeypatch.delenv(PATH_VARIABLE, raising=False)
    path = fake_ffmpeg(tmp_path, first_line)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert (ffmpeg_path() == path) is is_used


@pytest.mark.usefixtures("fresh_search")
def test_the_variable_goes_first_and_must_name_an_ffmpeg(monkeypatch, tmp_path):
    path = fake_ffmpeg(tmp_path, "ffmpeg version 3.0 Copyright")
    monkeypatch.setenv(PATH_VARIABLE, str(path))
    assert ffmpeg_path() == path
    ffmpeg_path.cache_clear()
    monkeypatch.setenv(PATH_VARIABLE, str(tmp_path / "absent"))
    with pytest.raises(UserError, match="does not run as ffmpeg"):
        ffmpeg_path()


@pytest.mark.usefixtures("fresh_search")
def test_a_variable_that_names_a_program_is_looked_up(monkeypatch, tmp_path):
    path = fake_ffmpeg(tmp_path, "ffmpeg version 8.0 Copyright")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setenv(PATH_VARIABLE, path.name)
    assert ffmpeg_path() == path


@pytest.mark.usefixtures("fresh_search")
@pytest.mark.parametrize(("version", "is_used"), [("7.0.2", False), ("7.1", True)])
def test_what_stands_in_for_a_bundled_ffmpeg_must_be_new_enough(
    monkeypatch, tmp_path, version, is_used
):
    path = fake_ffmpeg(tmp_path, f"ffmpeg version {version} Copyright")
    monkeypatch.delenv(PATH_VARIABLE, raising=False)
    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", lambda: str(path))
    monkeypatch.setenv("PATH", "/nowhere")
    if is_used:
        assert ffmpeg_path() == path
        return
    with pytest.raises(UserError, match="is too old"):
        ffmpeg_path()


def test_a_path_is_taken_literally_whatever_it_holds(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert file_argument(Path("-i %d 'é'.mp4")) == f"file:{tmp_path}/-i %d 'é'.mp4"


def test_ffmpeg_opens_nothing_over_the_network():
    with FfmpegProcess(
        ["-protocol_whitelist", "file,pipe", "-i", "http://127.0.0.1:9/x"]
    ) as process:
        assert process.wait(30) != 0
    assert any("not on whitelist" in line for line in process.lines)


def test_stopping_ends_a_running_ffmpeg_at_once():
    endless = ["-re", "-f", "lavfi", "-i", "testsrc2", "-f", "rawvideo", "pipe:1"]
    with FfmpegProcess(endless) as process:
        assert len(process.stdout.read(10)) == 10
        with pytest.raises(TimeoutError):
            process.wait(0.05)
        started = time.monotonic()
    assert time.monotonic() - started < 5
    assert process.wait() == -9


def test_errors_are_told_from_warnings_and_lose_their_marks():
    lines = [
        "[h264 @ 0x55] [error] no frame!",
        "[mov,mp4 @ 0x1] [warning] odd",
        "[error] plain [thing]",
        "[vost#0:0/rawvideo @ 0x2] [enc:rawvideo @ 0x3] [fatal] gone",
        "unmarked",
    ]
    assert error_lines(lines) == ["no frame!", "plain [thing]", "gone"]
