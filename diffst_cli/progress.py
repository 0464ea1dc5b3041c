"""Everything a person reads while diffst works: progress, warnings, summaries and errors, on stderr.

The only user of rich, which is imported when something is shown.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from diffst_cli.errors import UserError
from diffst_cli.memory import resident_bytes
from diffst_cli.words import counted, gigabytes, printable, speed

if TYPE_CHECKING:
    from rich.console import Console

    from diffst_cli.batch import FileResult
    from diffst_cli.summary import RunSummary

PLAIN_SECONDS = 5.0  # between progress lines when stderr is not a terminal
LIVE_SECONDS = 0.25  # between redraws on a terminal
BAR_WIDTH = 24  # columns; left out of a terminal too narrow for it
SEPARATOR = " · "
LONG_SECONDS = 2 * 24 * 3600  # of which nobody wants to know minutes
MAX_NAMES = 3  # of videos, in one line
ASCII = str.maketrans({"·": "|", "━": "#", "─": "-"})  # for terminals without these characters


class Reporter:
    """What a run tells while it works; this one is that of `--quiet` and shows errors only."""

    def begin(self, name: str) -> None:
        """A video is started; `name` is its short name."""

    def stage(self, name: str) -> None:
        """What is being done now, as `loading the model`."""

    def advance(self, frames_done: int, frames_total: int | None) -> None:
        """How many output frames are written, of how many (an estimate; None when unknown)."""

    def within(self, frames: float) -> None:
        """About how many frames of the clips at hand are done, in a run whose clips take long."""

    def warn(self, message: str) -> None:
        """Something the user should know about the result."""

    def note(self, message: str) -> None:
        """Something that is done, as one video of several."""

    def fail(self, error: UserError) -> None:
        """A video of several failed, and the next one follows."""
        print_error(error)

    def end(self) -> None:
        """The video is done, or failed; no more progress is shown. May be called twice."""

    def beside(self) -> Reporter:
        """What is told of another video, that is made at the same time."""
        return self


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run stands."""

    name: str
    """Of the video."""
    stage: str = "starting"
    frames_done: int = 0
    frames_made: float = 0.0
    """The most that were ever done, with those of clips at hand: what the bar shows never goes back."""
    frames_total: int | None = None
    frames_before: int = 0
    """Of those done, by an earlier run of the same command."""
    started: float | None = None
    """When frames began to be made, on the monotonic clock; None before."""

    @property
    def frames_per_second(self) -> float:
        """Frames that this run made a second, so far."""
        if self.started is None:
            return 0.0
        return (self.frames_made - self.frames_before) / max(time.monotonic() - self.started, 1e-3)


class LiveReporter(Reporter):
    """For people: a line of progress on stderr, shared with the videos made beside this one."""

    def __init__(self, screen: _Screen | None = None) -> None:
        self._screen = screen or _Screen()
        self.progress = Progress(name="")

    def begin(self, name: str) -> None:
        """Start showing."""
        self.progress = Progress(name=name)
        self._screen.show(self)

    def stage(self, name: str) -> None:
        """Show it from the next redraw."""
        self.progress = replace(self.progress, stage=name)

    def advance(self, frames_done: int, frames_total: int | None) -> None:
        """Show it from the next redraw; the first call starts the clock for speed and time left."""
        if self.progress.started is None:
            self.progress = replace(
                self.progress, frames_before=frames_done, started=time.monotonic()
            )
        self.progress = replace(self.progress, frames_done=frames_done, frames_total=frames_total)
        self.within(0)

    def within(self, frames: float) -> None:
        """Show it from the next redraw."""
        furthest = max(self.progress.frames_made, self.progress.frames_done + frames)
        self.progress = replace(self.progress, frames_made=furthest)

    def warn(self, message: str) -> None:
        """Print it at once, above the live line."""
        _print_marked(self._screen.console, "warning", message, style="yellow")

    def note(self, message: str) -> None:
        """Print it at once, above the live line."""
        self._screen.console.print(message, soft_wrap=True)

    def fail(self, error: UserError) -> None:
        """Print it at once, above the live line."""
        _print_error(self._screen.console, error)

    def end(self) -> None:
        """Take it out of the line, and the line away with the last one."""
        self._screen.hide(self)

    def beside(self) -> Reporter:
        """One that shares the line."""
        return LiveReporter(self._screen)


class _Screen:
    """Where videos at work are shown: one live line on a terminal, else a plain line every few seconds."""

    def __init__(self) -> None:
        self.console = _console()
        self._shown: tuple[LiveReporter, ...] = ()
        self._ended = threading.Event()
        self._painter: threading.Thread | None = None

    def show(self, reporter: LiveReporter) -> None:
        """Show one more; called from one thread, as `hide`."""
        self._shown += (reporter,)
        if self._painter is None:
            self._ended.clear()
            live = self.console.is_terminal and not self.console.is_dumb_terminal
            paint = self._paint_live if live else self._paint_plain
            self._painter = threading.Thread(target=paint, name="progress", daemon=True)
            self._painter.start()

    def hide(self, reporter: LiveReporter) -> None:
        """Show it no more. May be called twice."""
        self._shown = tuple(shown for shown in self._shown if shown is not reporter)
        if not self._shown and self._painter is not None:
            self._ended.set()
            self._painter.join()
            self._painter = None

    def _paint_plain(self) -> None:
        while not self._ended.wait(PLAIN_SECONDS):
            self.console.print(self.line(None), soft_wrap=True)

    def _paint_live(self) -> None:
        from rich.live import Live

        with Live(console=self.console, transient=True, auto_refresh=False) as live:
            while not self._ended.wait(LIVE_SECONDS):
                width = self.console.width - 1  # a full last column makes some terminals wrap
                live.update(self.line(width), refresh=True)

    def line(self, width: int | None) -> str:
        """What is shown now."""
        line = progress_line([shown.progress for shown in self._shown], width)
        return line if _has_unicode(self.console) else line.translate(ASCII)


def reporter(*, quiet: bool) -> Reporter:
    """The reporter a command uses."""
    return Reporter() if quiet else LiveReporter()


def progress_line(progresses: Sequence[Progress], width: int | None = None) -> str:
    """One line on where a run stands; what matters less is left out of a narrow one.

    Args:
        progresses: Where each video at work stands, the one begun first first.
        width: Columns there are; None for a line as long as it gets, without a bar.
    """
    if not progresses:
        return ""
    started = [progress for progress in progresses if progress.started is not None]
    pieces = (
        _counts(started) if started else []
    )  # where nothing is counted yet, the stage is the news
    if len(progresses) > 1:
        pieces.append(f"{len(progresses)} videos")
    pieces += [progresses[0].stage, gigabytes(resident_bytes()), _names(progresses)]
    if width is None:
        return SEPARATOR.join(pieces)
    line = pieces[0][:width]
    for piece in pieces[1:]:
        longer = f"{line}{SEPARATOR}{piece}"
        line = longer if len(longer) <= width else line
    total = _frames_total(started)
    if total and len(line) + BAR_WIDTH + 1 <= width:
        return f"{_bar(sum(progress.frames_made for progress in started) / total)} {line}"
    return line


def _counts(started: Sequence[Progress]) -> list[str]:
    """Frames, percentage, speed and time left, most important first."""
    done = sum(progress.frames_done for progress in started)
    made = sum(progress.frames_made for progress in started)
    total = _frames_total(started)
    frames_per_second = sum(progress.frames_per_second for progress in started)
    pieces = [f"{done}/{total} frames" if total else counted(done, "frame")]
    if total:
        pieces.append(f"{min(int(100 * made / total), 100)} %")
    if total and frames_per_second > 0:
        pieces.append(f"{clock(max(total - made, 0) / frames_per_second)} left")
    if frames_per_second > 0:
        pieces.append(speed(frames_per_second))
    return pieces


def _frames_total(progresses: Sequence[Progress]) -> int | None:
    """Of all; None where one does not tell."""
    totals = [progress.frames_total for progress in progresses]
    return None if None in totals else sum(filter(None, totals))


def _names(progresses: Sequence[Progress]) -> str:
    names = [progress.name for progress in progresses[:MAX_NAMES]]
    left = len(progresses) - len(names)
    return " + ".join([*names, f"{left} more"] if left else names)


def _bar(fraction: float) -> str:
    filled = round(min(fraction, 1.0) * BAR_WIDTH)
    return "━" * filled + "─" * (BAR_WIDTH - filled)


def print_summary(summary: RunSummary) -> None:
    """What was made, how fast, and the ticked receipt."""
    console = _console()
    width, height = summary.size
    made = (
        f"{width}x{height}, {float(summary.frame_rate):.4g} fps, {length(summary.duration_seconds)}"
    )
    took = f"in {length(summary.seconds)}, {speed(summary.output_fps)}"
    if summary.receipt.ok:
        _print_marked(console, "wrote", f"`{summary.output}`", style="bold green")
    frames = counted(summary.frames_out, "frame")
    console.print(f"  {made}, {frames} from {summary.frames_in}", soft_wrap=True)
    memory = gigabytes(summary.peak_memory_bytes)
    console.print(f"  {took}, at most {memory} memory", soft_wrap=True)
    for check in summary.receipt.checks:
        mark = _mark(console, check.ok)
        note = f" ({check.note})" if check.note else ""
        wanted = "" if check.ok else f", expected {check.expected}"
        console.print(
            f"  {mark} {check.name}: {check.actual}{wanted}{note}",
            style=None if check.ok else "red",
            soft_wrap=True,
        )


def print_results(results: Sequence[FileResult]) -> None:
    """The table at the end of a batch, and what to do where files were skipped."""
    from rich.table import Table

    from diffst_cli.batch import ALREADY_THERE

    console = _console()
    table = Table("file", "result", box=None, pad_edge=False)
    for result in results:
        table.add_row(str(result.job.input), result.outcome, style="red" if result.failed else None)
    console.print(table)
    if any(result.outcome == ALREADY_THERE for result in results):
        # Nothing on disk tells what they were made with.
        print_note("what was already there may be of other options; `--overwrite` makes it again")


def print_error(error: UserError) -> None:
    """`error: ...` and, where there is a remedy, `hint: ...`."""
    _print_error(_console(), error)


def _print_error(console: Console, error: UserError) -> None:
    _print_marked(console, "error", error.message, style="bold red")
    if error.hint is not None:
        _print_marked(console, "hint", error.hint, style="cyan")


def print_note(message: str) -> None:
    """A line of information from a command that shows no progress of its own."""
    _console().print(message, soft_wrap=True)


def clock(seconds: float) -> str:
    """Seconds as `1:02:03`, `2:03` below an hour, `4 days 5 h` from two days on."""
    if seconds >= LONG_SECONDS:
        days, hours = divmod(round(seconds / 3600), 24)
        return f"{days} days {hours} h"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def length(seconds: float) -> str:
    """Seconds with a tenth below a minute, else as a clock shows them."""
    return f"{seconds:.1f} s" if seconds < 60 else clock(seconds)


def _console() -> Console:
    from rich.console import Console
    from rich.text import Text

    class Steady(Console):
        """Goes on where nobody reads any more, as after `2>&1 | head`, and obeys no text that it prints."""

        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(printable(text), **options)

        def on_broken_pipe(self) -> None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.file.fileno())
            os.close(nowhere)

    return Steady(stderr=True, highlight=False, markup=False, emoji=False)


def _print_marked(console: Console, mark: str, message: str, *, style: str) -> None:
    """`mark: message` as one line, whatever characters the message holds."""
    from rich.text import Text

    one_line = printable(" ".join(message.split()))
    console.print(Text.assemble((f"{mark}:", style), " ", one_line), soft_wrap=True)


def _has_unicode(console: Console) -> bool:
    return console.encoding.startswith("utf")


def _mark(console: Console, ok: bool) -> str:
    """A tick or a cross, in what characters the terminal has."""
    if _has_unicode(console):
        return "✓" if ok else "✗"
    return "ok" if ok else "FAILED"
