"""A folder of videos, one after another: the tree mirrored, what is finished skipped, failures kept apart."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from diffst_cli.codecs import VIDEO_SUFFIXES as OUTPUT_SUFFIXES
from diffst_cli.errors import UserError, explain
from diffst_cli.job import UpscaleJob
from diffst_cli.progress import Reporter
from diffst_cli.run import open_model, require_good, run_job

INPUT_SUFFIXES = frozenset(
    (
        *(".3gp", ".asf", ".avi", ".divx", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"),
        *(".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m"),
    )
)
OTHER_SUFFIX = ".mkv"  # of outputs whose input's container we cannot write; it holds any stream

if TYPE_CHECKING:
    from diffst.upscaler import UpscaleModel

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FileResult:
    """How one file of a batch went."""

    job: UpscaleJob
    outcome: str
    """One line for the table."""
    failed: bool


def find_jobs(template: UpscaleJob, glob: str | None) -> list[UpscaleJob]:
    """A job for every video under the input folder, by name.

    Files under the output folder are not inputs, hidden files neither. An output has its input's
    name, with `.mkv` added where we cannot write the container.

    Args:
        template: Its `input` and `output` are the two folders; the rest holds for every job.
        glob: Pattern that a file's name, or its path inside the folder, must match; None takes
            every video.

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
    if not names:
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


def run_batch(jobs: Sequence[UpscaleJob], *, reporter: Reporter) -> list[FileResult]:
    """Runs every job whose output is not there yet; a failure is recorded, and the next job runs.

    The model is loaded once, and not at all when everything is finished. Since an output appears
    only when it is complete and checked, one that exists is finished.

    Raises:
        UserError: The model cannot be loaded.
    """
    model: UpscaleModel | None = None
    results = []
    for number, job in enumerate(jobs, start=1):
        if job.output.exists() and not job.overwrite:
            results.append(FileResult(job=job, outcome="skipped: already there", failed=False))
            continue
        if model is None:
            reporter.stage("loading the model")
            model = open_model(job)
        results.append(_run_one(job, model, reporter))
        reporter.note(f"{number}/{len(jobs)} `{job.input}`: {results[-1].outcome}")
    return results


def _run_one(job: UpscaleJob, model: UpscaleModel, reporter: Reporter) -> FileResult:
    try:
        job.output.parent.mkdir(parents=True, exist_ok=True)
        summary = run_job(job, model=model, reporter=reporter)
        require_good(summary)
    except Exception as error:
        log.debug("`%s` failed", job.input, exc_info=error)
        explained = explain(error)
        reporter.fail(explained)
        return FileResult(job=job, outcome=f"failed: {explained.message}", failed=True)
    width, height = summary.size
    done = f"{width}x{height}, {summary.frames_out} frames, {summary.output_fps:.1f} frames/s"
    return FileResult(job=job, outcome=done, failed=False)
