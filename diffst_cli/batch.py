"""A folder of videos: the tree mirrored, what is finished skipped, failures kept apart.

One model makes one after another. Workers share the segments of as many as it takes to keep them busy.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from diffst_cli.batch_log import append_line
from diffst_cli.codecs import VIDEO_SUFFIXES
from diffst_cli.errors import UsageError, UserError, explain
from diffst_cli.job import UpscaleJob
from diffst_cli.progress import Reporter
from diffst_cli.run import Journey, new_crew, open_model
from diffst_cli.suffixes import INPUT_SUFFIXES
from diffst_cli.summary import receipt_of, require_good
from diffst_cli.target import leads_to_itself
from diffst_cli.words import counted, speed

SETTLED_SECONDS = 5.0  # between two looks at a watched folder
OTHER_SUFFIX = ".mkv"  # of outputs whose input's container is not kept; it holds any stream
# AVI has no place for a variable rate, and recordings in it often leave out frames.
KEPT_SUFFIXES = frozenset(VIDEO_SUFFIXES) - {".avi"}

if TYPE_CHECKING:
    from diffst.upscaler import UpscaleModel
    from diffst_cli.crew import Crew

log = logging.getLogger(__name__)


ALREADY_THERE = "skipped: already there"


@dataclass(frozen=True, kw_only=True)
class FileResult:
    """How one file of a batch went."""

    job: UpscaleJob
    outcome: str
    """One line for the table."""
    failed: bool
    receipt: Mapping[str, object] | None = None
    """What was checked and what it took; None where it did not come to that."""


def find_jobs(
    template: UpscaleJob, glob: str | None, *, may_be_empty: bool = False
) -> list[UpscaleJob]:
    """A job for every video under the input folder, by name.

    Files under the output folder are not inputs, hidden files neither. An output has its input's
    name, with `.mkv` added where its container is not kept.

    Args:
        template: Its `input` and `output` are the two folders; the rest holds for every job.
        glob: Pattern that a file's name, or its path inside the folder, must match; None takes
            every video.
        may_be_empty: Whether it is fine that nothing is there, so far.

    Raises:
        UserError: The input is not a folder, or nothing in it matches.
    """
    folder, target = template.input, template.output
    if not folder.is_dir():
        raise UserError(f"`{folder}` is not a folder", hint="`diffst upscale` takes a single file")
    if leads_to_itself(target):
        raise UserError(
            f"`{target}` is a link that leads to itself", hint="give a folder for the outputs"
        )
    if target.exists() and not target.is_dir():
        raise UserError(f"`{target}` is not a folder", hint="give a folder for the outputs")
    if target.exists() and target.samefile(folder):  # whatever the case of its letters
        raise UserError(
            f"`{target}` is the input folder too", hint="give another folder for the outputs"
        )
    names = [path.relative_to(folder) for path in _find_files(folder, target, glob)]
    if not names and not may_be_empty:
        wanted = f"file that matches `{glob}`" if glob else "video"
        raise UserError(f"no {wanted} in `{folder}`", hint="`--glob` says which files to take")
    inputs = frozenset(names)
    if (
        any(folder.name == name.parts[0] for name in names)
        and target.resolve() == folder.resolve().parent
    ):
        raise UserError(
            f"`{target}` would get outputs that lie in `{folder}`, the input folder",
            hint="give another folder for the outputs",
        )
    return [
        replace(template, input=folder / name, output=target / _output_name(name, inputs))
        for name in names
    ]


def _find_files(folder: Path, target: Path, glob: str | None) -> Iterator[Path]:
    """Files to take, sorted so that runs are alike; those made by an earlier one are not taken.

    Raises:
        UserError: `glob` is not a pattern of names in the folder.
    """
    excluded = target.resolve()
    encloses = excluded in folder.resolve().parents  # then what is made does not lie in `folder`
    try:
        found = sorted(folder.rglob(glob or "*"))
    except (ValueError, NotImplementedError) as error:
        raise UsageError(
            f"`--glob` is `{glob}`, no pattern of names in a folder", hint="as '*.mkv' or 'day1/*'"
        ) from error
    for path in found:
        inside = path.relative_to(folder)
        if any(part.startswith(".") for part in inside.parts):
            continue
        if not path.is_file() or (excluded in path.resolve().parents and not encloses):
            continue
        if glob or path.suffix.lower() in INPUT_SUFFIXES:
            yield path


def _output_name(name: Path, inputs: frozenset[Path]) -> Path:
    """The input's name where its container is kept, else with a suffix added.

    Added, not replaced, so that `a.ts` and `a.wmv` stay apart whatever else is in the folder: names that
    depended on that would mislead a batch that goes on later. Only beside an input that is called like
    `a.ts.mkv` does the output of `a.ts` give way to it.
    """
    if name.suffix.lower() in KEPT_SUFFIXES:
        return name
    output = name.with_name(name.name + OTHER_SUFFIX)
    while output in inputs:
        output = output.with_name(output.name + OTHER_SUFFIX)
    return output


def run_batch(
    jobs: Sequence[UpscaleJob], *, reporter: Reporter, log_file: Path | None = None
) -> list[FileResult]:
    """Runs every job whose output is not there yet; a failure is recorded, and the other jobs run.

    The model is loaded once, by each worker where there are several, and not at all when everything
    is finished. Workers that one file has no more segments for begin the next. Since an output
    appears only when it is complete and checked, one that exists is finished; one that was stopped in
    its middle goes on there.

    Args:
        jobs: In order.
        reporter: Told how it goes.
        log_file: Gets a line of JSON for each job that ran, as it ends, after those of earlier batches.

    Returns:
        How each went, in the order of `jobs`.

    Raises:
        UserError: The model cannot be loaded, or the log not be written.
    """
    coming = (_Coming(job, f"{i}/{len(jobs)}") for i, job in enumerate(jobs, start=1))
    with _Runner(reporter, log_file) as runner:
        results = {result.job.output: result for result in runner.run(coming)}
    return [results[job.output] for job in jobs]


def watch_folder(
    find: Callable[[], Sequence[UpscaleJob]], *, reporter: Reporter, log_file: Path | None = None
) -> None:
    """Runs the jobs that `find` finds, again and again, until Ctrl-C.

    A file is taken once it has kept its size and time of change for `SETTLED_SECONDS`, and again
    only if it changed.

    Raises:
        UserError: The model cannot be loaded, or the log not be written.
    """
    with _Runner(reporter, log_file) as runner:
        for _ in runner.run(_watched(find)):
            pass


def _watched(find: Callable[[], Sequence[UpscaleJob]]) -> Iterator[_Coming | None]:
    """Jobs as their files are whole, for ever; None after each look at the folder."""
    seen: dict[Path, tuple[int, int]] = {}
    taken: dict[Path, tuple[int, int]] = {}
    while True:
        for job in find():
            stamp = _stamp(job.input)
            if stamp is not None and seen.get(job.input) == stamp != taken.get(job.input):
                taken[job.input] = stamp
                yield _Coming(job, "watched")
            elif stamp is not None:
                seen[job.input] = stamp
        yield None


def _stamp(path: Path) -> tuple[int, int] | None:
    """What changes while a file is written; None if it is gone."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_size, about.st_mtime_ns


@dataclass(frozen=True)
class _Coming:
    """A file to make."""

    job: UpscaleJob
    place: str
    """Tells the user where in the batch this is."""


@dataclass(frozen=True, eq=False)
class _File:
    """One that is at work."""

    coming: _Coming
    journey: Journey


class _Runner:
    """Runs jobs, one at a time with one model, or several with workers that share them; owns these.

    All but the making of pieces is done here, in one thread.
    """

    def __init__(self, reporter: Reporter, log_file: Path | None) -> None:
        self._reporter = reporter
        self._log_file = log_file
        self._model: UpscaleModel | None = None
        self._crew: Crew | None = None
        self._files: list[_File] = []

    def run(self, files: Iterable[_Coming | None]) -> Iterator[FileResult]:
        """How each file went, as they end.

        Args:
            files: In order; None where none comes for the next `SETTLED_SECONDS`.
        """
        for coming in files:
            if coming is None:
                yield from self._rest()
                continue
            output = coming.job.output
            yield from self._ended_until(partial(self._has_room, output))
            if _is_finished(coming.job):
                self._tell_change(coming.job)
                yield FileResult(job=coming.job, outcome=ALREADY_THERE, failed=False)
                continue
            self._load(coming.job)
            yield from self._begin(coming)
        yield from self._ended_until(lambda: not self._files)

    def _tell_change(self, job: UpscaleJob) -> None:
        """An output is never made over unasked, not even if only a half of its input had been copied."""
        read, made = _stamp(job.input), _stamp(job.output)
        if read is not None and made is not None and read[1] > made[1]:
            self._reporter.warn(
                f"`{job.input}` is newer than `{job.output}`, which is left as it is: "
                "remove that to have it made again"
            )

    def _has_room(self, output: Path) -> bool:
        """Whether a file may be begun: that another of the same name is not at work, and workers have little to do."""
        if self._crew is None or not self._files:
            return not self._files
        is_at_work = output in (file.coming.job.output for file in self._files)
        return self._crew.wants_more and not is_at_work

    def _ended_until(self, is_enough: Callable[[], bool]) -> Iterator[FileResult]:
        """Ends the files that are made, and waits for others, until there is enough of that."""
        while True:
            made = [file for file in self._files if file.journey.is_made]
            if made:
                yield self._end(made[0])
            elif is_enough():
                return
            else:
                assert self._crew is not None  # or the file would be made at once
                self._crew.wait_for(lambda: self._is_any_made or is_enough(), SETTLED_SECONDS)

    @property
    def _is_any_made(self) -> bool:
        return any(file.journey.is_made for file in self._files)

    def _rest(self) -> Iterator[FileResult]:
        """What ends while no file comes."""
        until = time.monotonic() + SETTLED_SECONDS
        yield from self._ended_until(lambda: not self._files or time.monotonic() >= until)
        if not self._files:
            time.sleep(SETTLED_SECONDS)

    def _load(self, job: UpscaleJob) -> None:
        """Have the model, or workers that have it, before the first file."""
        if self._model is not None or self._crew is not None:
            return
        self._reporter.begin(job.model)
        self._reporter.stage("loading the model")
        try:
            if job.is_shared_out:
                self._crew = new_crew(job)
                self._crew.muster()
            else:
                self._model = open_model(job)
        finally:
            self._reporter.end()

    def _begin(self, coming: _Coming) -> Iterator[FileResult]:
        """Begins a file; how it went, where it ends with that."""
        job = coming.job
        name = f"{job.input.name}, {coming.place}"
        file = _File(coming, Journey(job, self._reporter.beside(), name))
        self._files.append(file)
        try:
            job.output.parent.mkdir(parents=True, exist_ok=True)
            file.journey.begin(self._model, self._crew)
        except Exception as error:
            yield self._note(file, _failed(job, error, self._reporter))

    def _end(self, file: _File) -> FileResult:
        """Makes the output of its pieces, and says how it went."""
        job, receipt = file.coming.job, None
        try:
            summary = file.journey.complete()
            receipt = receipt_of(summary)
            require_good(summary)
        except Exception as error:
            return self._note(file, _failed(job, error, self._reporter, receipt))
        width, height = summary.size
        done = f"{width}x{height}, {counted(summary.frames_out, 'frame')}"
        if summary.frames_out > summary.frames_resumed:
            done += f", {speed(summary.output_fps)}"
        return self._note(file, FileResult(job=job, outcome=done, failed=False, receipt=receipt))

    def _note(self, file: _File, result: FileResult) -> FileResult:
        """Tells how a file went, also the log."""
        self._files.remove(file)
        if self._log_file is not None:
            append_line(self._log_file, _record(result))
        told = "failed" if result.failed else result.outcome  # why was told at once
        self._reporter.note(f"{file.coming.place} `{result.job.input}`: {told}")
        return result

    def __enter__(self) -> _Runner:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._crew is not None:
            self._crew.stop()
        for file in self._files:
            file.journey.close(kind, error, traceback)


def _record(result: FileResult) -> dict[str, object]:
    """What the log gets of a finished job, with its receipt if there is one."""
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "input": str(result.job.input),
        "output": str(result.job.output),
        "ok": not result.failed,
        "outcome": result.outcome,
        "receipt": result.receipt,
    }


def _is_finished(job: UpscaleJob) -> bool:
    """Whether the output is there already, and shall stay."""
    try:
        return job.output.exists() and not job.overwrite
    except OSError:  # its name is too long, which beginning will tell
        return False


def _failed(
    job: UpscaleJob,
    error: Exception,
    reporter: Reporter,
    receipt: Mapping[str, object] | None = None,
) -> FileResult:
    log.debug("`%s` failed", job.input, exc_info=error)
    if _is_finished(job):  # another batch in these folders was first
        return FileResult(job=job, outcome=ALREADY_THERE, failed=False)
    explained = explain(error)
    reporter.fail(explained)
    return FileResult(job=job, outcome=f"failed: {explained.message}", failed=True, receipt=receipt)
