"""A folder of videos, one after another: the tree mirrored, what is finished skipped, failures kept apart."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from diffst_cli.codecs import VIDEO_SUFFIXES as OUTPUT_SUFFIXES
from diffst_cli.errors import UserError, explain
from diffst_cli.job import UpscaleJob
from diffst_cli.progress import Reporter
from diffst_cli.run import new_crew, open_model, run_job
from diffst_cli.summary import receipt_of, require_good
from diffst_cli.words import speed

INPUT_SUFFIXES = frozenset(
    (
        *(".3gp", ".asf", ".avi", ".divx", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"),
        *(".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m"),
    )
)
SETTLED_SECONDS = 5.0  # between two looks at a watched folder
OTHER_SUFFIX = ".mkv"  # of outputs whose input's container we cannot write; it holds any stream

if TYPE_CHECKING:
    from diffst.upscaler import UpscaleModel
    from diffst_cli.crew import Crew

log = logging.getLogger(__name__)


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
    name, with `.mkv` added where we cannot write the container.

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
    if target.exists() and not target.is_dir():
        raise UserError(f"`{target}` is not a folder", hint="give a folder for the outputs")
    if target.resolve() == folder.resolve():
        raise UserError(
            f"`{target}` is the input folder too", hint="give another folder for the outputs"
        )
    names = [path.relative_to(folder) for path in _find_files(folder, target.resolve(), glob)]
    if not names and not may_be_empty:
        wanted = f"file that matches `{glob}`" if glob else "video"
        raise UserError(f"no {wanted} in `{folder}`", hint="`--glob` says which files to take")
    inputs = frozenset(names)
    return [
        replace(template, input=folder / name, output=target / _output_name(name, inputs))
        for name in names
    ]


def _find_files(folder: Path, excluded: Path, glob: str | None) -> Iterator[Path]:
    """Files to take, sorted so that runs are alike."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if any(part.startswith(".") for part in inside.parts):
            continue
        if not path.is_file() or excluded in path.resolve().parents:
            continue
        if inside.match(glob) if glob else path.suffix.lower() in INPUT_SUFFIXES:
            yield path


def _output_name(name: Path, inputs: frozenset[Path]) -> Path:
    """The input's name where we can write its container, else with a suffix added.

    Added, not replaced, so that `a.ts` and `a.wmv` stay apart, and so that an output's name never
    depends on what else is in the folder, which would mislead a batch that goes on later.
    """
    if name.suffix.lower() in OUTPUT_SUFFIXES:
        return name
    output = name.with_name(name.name + OTHER_SUFFIX)
    while output in inputs:
        output = output.with_name(output.name + OTHER_SUFFIX)
    return output


def run_batch(
    jobs: Sequence[UpscaleJob], *, reporter: Reporter, log_file: Path | None = None
) -> list[FileResult]:
    """Runs every job whose output is not there yet; a failure is recorded, and the next job runs.

    The model is loaded once, by each worker where there are several, and not at all when everything
    is finished. Since an output appears only when it is complete and checked, one that exists is
    finished; one that was stopped in its middle goes on there.

    Args:
        jobs: In order.
        reporter: Told how it goes.
        log_file: Gets a line of JSON for each job that ran, after those of earlier batches.

    Raises:
        UserError: The model cannot be loaded, or the log not be written.
    """
    with _Runner(reporter, log_file) as runner:
        return [runner.run(job, f"{i}/{len(jobs)}") for i, job in enumerate(jobs, start=1)]


def watch_folder(
    find: Callable[[], Sequence[UpscaleJob]], *, reporter: Reporter, log_file: Path | None = None
) -> NoReturn:
    """Runs the jobs that `find` finds, again and again, until Ctrl-C.

    A file is taken once it has kept its size and time of change for `SETTLED_SECONDS`, and again
    only if it changed.

    Raises:
        UserError: The model cannot be loaded, or the log not be written.
    """
    with _Runner(reporter, log_file) as runner:
        _watch(find, runner)


def _watch(find: Callable[[], Sequence[UpscaleJob]], runner: _Runner) -> NoReturn:
    seen: dict[Path, tuple[int, int]] = {}
    done: dict[Path, tuple[int, int]] = {}
    while True:
        for job in find():
            stamp = _stamp(job.input)
            if stamp is not None and seen.get(job.input) == stamp != done.get(job.input):
                runner.run(job, "watched")
                done[job.input] = stamp
            elif stamp is not None:
                seen[job.input] = stamp
        time.sleep(SETTLED_SECONDS)


def _stamp(path: Path) -> tuple[int, int] | None:
    """What changes while a file is written; None if it is gone."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_size, about.st_mtime_ns


class _Runner:
    """Runs jobs one after another with one model, or with workers that stay; owns these."""

    def __init__(self, reporter: Reporter, log_file: Path | None) -> None:
        self._reporter = reporter
        self._log_file = log_file
        self._model: UpscaleModel | None = None
        self._crew: Crew | None = None

    def run(self, job: UpscaleJob, place: str) -> FileResult:
        """Makes the output unless it is there; `place` tells the user where in the batch this is."""
        if job.output.exists() and not job.overwrite:
            return FileResult(job=job, outcome="skipped: already there", failed=False)
        if job.is_shared_out:
            self._crew = self._crew or new_crew(job)
        elif self._model is None:
            self._reporter.stage("loading the model")
            self._model = open_model(job)
        result = _run_one(job, self._model, self._crew, self._reporter, place)
        if self._log_file is not None:
            _append(self._log_file, result)
        told = "failed" if result.failed else result.outcome  # why was told at once
        self._reporter.note(f"{place} `{job.input}`: {told}")
        return result

    def __enter__(self) -> _Runner:
        return self

    def __exit__(self, *_: object) -> None:
        if self._crew is not None:
            self._crew.stop()


def _append(path: Path, result: FileResult) -> None:
    """Add a line for a finished job, with its receipt if there is one."""
    line = {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "input": str(result.job.input),
        "output": str(result.job.output),
        "ok": not result.failed,
        "outcome": result.outcome,
        "receipt": result.receipt,
    }
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    except OSError as error:
        raise UserError(f"cannot write the log `{path}`: {error.strerror}") from error


def _run_one(
    job: UpscaleJob, model: UpscaleModel | None, crew: Crew | None, reporter: Reporter, place: str
) -> FileResult:
    receipt = None
    try:
        job.output.parent.mkdir(parents=True, exist_ok=True)
        name = f"{job.input.name}, {place}"
        summary = run_job(job, model=model, crew=crew, reporter=reporter, name=name)
        receipt = receipt_of(summary)
        require_good(summary)
    except Exception as error:
        log.debug("`%s` failed", job.input, exc_info=error)
        explained = explain(error)
        reporter.fail(explained)
        return FileResult(
            job=job, outcome=f"failed: {explained.message}", failed=True, receipt=receipt
        )
    width, height = summary.size
    done = f"{width}x{height}, {summary.frames_out} frames, {speed(summary.output_fps)}"
    return FileResult(job=job, outcome=done, failed=False, receipt=receipt)
