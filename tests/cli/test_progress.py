import io
import re
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from diffst_cli import progress
from diffst_cli.errors import UserError
from diffst_cli.progress import (
    LiveReporter,
    Progress,
    Reporter,
    clock,
    print_error,
    print_note,
    progress_line,
    reporter,
)


@pytest.fixture
def half_done(monkeypatch: pytest.MonkeyPatch) -> Progress:
    """100 of 400 frames in 10 seconds, with 500 MB."""
    monkeypatch.setattr(progress.time, "monotonic", lambda: 110.0)  # type: ignore[attr-defined]
    monkeypatch.setattr(progress, "resident_bytes", lambda: 500_000_000)
    return Progress(
        name="in.mp4",
        stage="upscaling",
        frames_done=100,
        frames_made=100,
        frames_total=400,
        started=100.0,
    )


def test_the_clip_at_hand_moves_the_bar_and_gives_a_time_left(half_done: Progress):
    within = replace(half_done, frames_done=0, frames_made=0.5, frames_total=4)
    line = progress_line([within], 120)
    assert line.startswith("━" * 3 + "─" * 21 + " 0/4 frames · 12 % · 1:10 left · 20 s a frame")


def test_the_bar_never_goes_back():
    told = LiveReporter()
    told.advance(8, 32)
    told.within(4.5)
    told.within(0)  # the next clip is begun before the frames of this one are written
    assert told.progress.frames_made == 12.5
    told.advance(16, 32)
    assert told.progress.frames_made == 16


def test_a_long_line_tells_everything(half_done: Progress):
    assert progress_line([half_done]) == (
        "100/400 frames · 25 % · 0:30 left · 10.0 frames/s · upscaling · 500 MB · in.mp4"
    )


def test_videos_at_work_share_the_line(half_done: Progress):
    """Frames and speeds are added up; one whose frames are not counted yet is only named."""
    another = replace(half_done, name="b.mp4", frames_done=20, frames_made=20, frames_total=80)
    opening = Progress(name="c.mp4", stage="opening")
    line = progress_line([half_done, another, opening])
    assert line == (
        "120/480 frames · 25 % · 0:30 left · 12.0 frames/s · 3 videos · upscaling · 500 MB"
        " · in.mp4 + b.mp4 + c.mp4"
    )
    assert progress_line([half_done, another, opening], 140).startswith("━" * 6 + "─" * 18 + " 120")
    many = [replace(half_done, name=name) for name in "abcde"]
    assert progress_line(many).endswith(" · 5 videos · upscaling · 500 MB · a + b + c + 2 more")
    unknown = replace(another, frames_total=None)
    assert progress_line([half_done, unknown]).startswith("120 frames · 12.0 frames/s · 2 videos")


def test_the_line_stays_until_the_last_of_several_videos_ends():
    first = LiveReporter()
    second = first.beside()
    assert isinstance(second, LiveReporter)
    first.begin("a.mp4")
    second.begin("b.mp4")
    assert first._screen.line(None).endswith("a.mp4 + b.mp4")
    first.end()
    assert second._screen.line(None).endswith("b.mp4")
    assert second._screen._painter is not None
    second.end()
    assert second._screen._painter is None


def test_a_wide_terminal_has_a_bar(half_done: Progress):
    line = progress_line([half_done], 120)
    assert line.startswith("━" * 6 + "─" * 18 + " 100/400 frames · 25 %")
    assert line.endswith("in.mp4")


@pytest.mark.parametrize("width", [1, 10, 20, 40, 60, 79, 80, 200])
def test_no_line_is_wider_than_the_terminal(half_done: Progress, width: int):
    assert len(progress_line([half_done], width)) <= width


def test_twenty_columns_hold_what_matters_most(half_done: Progress):
    assert progress_line([half_done], 20) == "100/400 frames"
    assert progress_line([half_done], 24) == "100/400 frames · 25 %"


def test_before_the_first_frame_the_stage_is_the_news(half_done: Progress):
    waiting = Progress(name="in.mp4", stage="loading the model")
    assert progress_line([waiting]) == "loading the model · 500 MB · in.mp4"


def test_no_speed_is_told_before_a_frame_is_made(half_done: Progress):
    resumed = Progress(
        name="a",
        stage="upscaling",
        frames_done=9,
        frames_made=9,
        frames_total=36,
        frames_before=9,
        started=100.0,
    )
    assert progress_line([resumed]) == "9/36 frames · 25 % · upscaling · 500 MB · a"


def test_a_slow_run_tells_seconds_instead_of_no_speed(half_done: Progress):
    slow = replace(half_done, frames_done=1, frames_made=1, frames_total=4, started=35.0)
    assert (
        progress_line([slow])
        == "1/4 frames · 25 % · 3:45 left · 75 s a frame · upscaling · 500 MB · in.mp4"
    )


def test_an_unknown_length_shows_no_percentage(half_done: Progress):
    endless = Progress(
        name="in.mp4", stage="upscaling", frames_done=100, frames_made=100, started=100.0
    )
    assert progress_line([endless]) == "100 frames · 10.0 frames/s · upscaling · 500 MB · in.mp4"


def test_more_frames_than_estimated_stay_at_all(half_done: Progress):
    over = Progress(
        name="a",
        stage="upscaling",
        frames_done=405,
        frames_made=405,
        frames_total=400,
        started=100.0,
    )
    assert "405/400 frames · 100 % · 0:00 left" in progress_line([over])
    assert progress_line([over], 120).startswith("━" * 24)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0:00"),
        (59.6, "1:00"),
        (125, "2:05"),
        (3725, "1:02:05"),
        (172_799, "47:59:59"),
        (172_800, "2 days 0 h"),
        (6_697_368, "77 days 12 h"),
    ],
)
def test_clock_times(seconds: float, shown: str):
    assert clock(seconds) == shown


def test_an_error_is_one_line_whatever_it_holds(capsys: pytest.CaptureFixture[str]):
    print_error(UserError("no video in `a [bold] :smile:\nb`" + " x" * 100, hint="try\nagain"))
    first, second = capsys.readouterr().err.splitlines()
    assert first == "error: no video in `a [bold] :smile: b`" + " x" * 100
    assert second == "hint: try again"


def test_a_terminal_obeys_nothing_that_a_tag_says(capsys: pytest.CaptureFixture[str]):
    evil = "\x1b]0;mine\x07 \x1b[2J \x9b1m é 漢"
    shown = "\\x1b]0;mine\\x07 \\x1b[2J \\x9b1m é 漢"
    print_error(UserError(evil, hint=evil))
    print_note(evil)
    reporter(quiet=False).note(evil)
    assert progress._console().render_str(evil).plain == shown
    assert capsys.readouterr().err.splitlines() == [
        f"error: {shown}",
        f"hint: {shown}",
        *[shown] * 2,
    ]


def test_a_note_is_one_line_as_it_is(capsys: pytest.CaptureFixture[str]):
    print_note("step 10 [of] 20:" + " x" * 100)
    assert capsys.readouterr().err == "step 10 [of] 20:" + " x" * 100 + "\n"


def test_quiet_shows_errors_only(capsys: pytest.CaptureFixture[str]):
    silent = reporter(quiet=True)
    assert type(silent) is Reporter
    silent.begin("in.mp4")
    silent.stage("upscaling")
    silent.advance(1, 2)
    silent.warn("ended early")
    silent.note("1/2 done")
    silent.end()
    assert capsys.readouterr().err == ""
    silent.fail(UserError("broken"))
    assert capsys.readouterr().err == "error: broken\n"


def test_without_a_terminal_a_plain_line_comes_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0.02)
    shown = reporter(quiet=False)
    shown.begin("in.mp4")
    shown.stage("upscaling")
    shown.advance(3, 4)
    _wait_for(lambda: "3/4 frames" in capsys.readouterr().err)
    shown.warn("`in.mp4` ended early")
    shown.end()
    assert "warning: `in.mp4` ended early\n" in capsys.readouterr().err


def _wait_for(condition: Any) -> None:
    import time

    deadline = time.perf_counter() + 10
    while not condition():
        assert time.perf_counter() < deadline
        time.sleep(0.01)


def test_a_terminal_without_unicode_gets_plain_characters(monkeypatch: pytest.MonkeyPatch):
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    console = Console(file=screen, force_terminal=True, width=120, highlight=False)
    monkeypatch.setattr(progress, "_console", lambda: console)
    live = LiveReporter()
    live.begin("in.mp4")
    live.advance(3, 4)
    line = live._screen.line(100)
    live.end()
    assert line.isascii()
    assert line.startswith("#" * 18 + "-" * 6 + " 3/4 frames | 75 %")


def test_what_is_told_at_once_stands_above_the_line(monkeypatch: pytest.MonkeyPatch):
    screen = io.StringIO()
    monkeypatch.setattr(
        progress,
        "_console",
        lambda: Console(file=screen, force_terminal=True, width=80, no_color=True),
    )
    monkeypatch.setattr(progress, "LIVE_SECONDS", 0.01)
    monkeypatch.setenv("TERM", "xterm")
    live = LiveReporter()
    live.begin("in.mp4")
    _wait_for(lambda: "in.mp4" in screen.getvalue())
    live.note("one")
    live.warn("two")
    live.fail(UserError("three"))
    live.end()
    unstyled = re.sub(r"\x1b\[\d*m", "", screen.getvalue())
    for told in ("one", "warning: two", "error: three"):
        assert f"\x1b[2K{told}\n" in unstyled


@pytest.mark.parametrize("no_color", [False, True])
def test_a_narrow_terminal_shows_one_line_and_cleans_it(
    monkeypatch: pytest.MonkeyPatch, no_color: bool
):
    screen = io.StringIO()
    console = Console(
        file=screen, force_terminal=True, width=20, no_color=no_color, highlight=False
    )
    monkeypatch.setattr(progress, "_console", lambda: console)
    monkeypatch.setattr(progress, "LIVE_SECONDS", 0.01)
    monkeypatch.setenv("TERM", "xterm")
    live = LiveReporter()
    live.begin("a very long name indeed.mp4")
    live.advance(3, 4)
    _wait_for(lambda: "3/4 frames" in screen.getvalue())
    live.end()
    live.end()
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue())
    assert max(len(line) for line in re.split(r"[\r\n]", plain)) < 20


def test_the_summary_tells_what_was_made_and_checked(capsys: pytest.CaptureFixture[str]):
    from diffst_cli.progress import print_summary
    from diffst_cli.receipt import Check, Receipt
    from diffst_cli.summary import RunSummary

    checks = (
        Check(name="frames", ok=True, expected="600", actual="600"),
        Check(name="size", ok=False, expected="1280x720", actual="1280x722", note="odd"),
    )
    receipt = Receipt(input=Path("in.mp4"), output=Path("out.mp4"), checks=checks, notes=())
    print_summary(
        RunSummary(
            input=Path("in.mp4"),
            output=Path("out [x].mp4"),
            size=(1280, 720),
            frame_rate=Fraction(60000, 1001),
            frames_in=300,
            frames_out=600,
            seconds=75.0,
            stage_seconds={},
            peak_memory_bytes=812_000_000,
            receipt=receipt,
        )
    )
    assert capsys.readouterr().err.splitlines() == [
        "  1280x720, 59.94 fps, 10.0 s, 600 frames from 300",
        "  in 1:15, 8.0 frames/s, at most 812 MB memory",
        "  ✓ frames: 600",
        "  ✗ size: 1280x722, expected 1280x720 (odd)",
    ]


def test_work_goes_on_when_nobody_reads_what_it_tells():
    program = (
        "from diffst_cli.progress import print_note\n"
        "input()\n"
        "print_note('one'); print_note('two')\n"
        "print('done')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stderr is not None
        running.stderr.close()
        out, _ = running.communicate("go\n")
    assert (out, running.returncode) == ("done\n", 0)
