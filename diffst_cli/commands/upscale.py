"""`diffst upscale`: one video, in space and time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffst_cli.commands.options import (
    JobMaker,
    QuietOption,
    RayOption,
    names_folder,
    takes_job_options,
)
from diffst_cli.errors import UsageError
from diffst_cli.report_files import check_report, is_one_of, is_taken

if TYPE_CHECKING:
    from diffst_cli.job import UpscaleJob


@takes_job_options
def upscale(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT", help="Video file, folder of pictures, or pattern like in_%05d.png."
        ),
    ],
    output: Annotated[
        str,
        typer.Argument(
            metavar="OUTPUT",
            help="Video to make; for pictures a new folder, or a pattern like out_%05d.png.",
        ),
    ],
    make_job: JobMaker,
    receipt: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write what was checked, as JSON; - prints it."),
    ] = None,
    ray: RayOption = None,
    quiet: QuietOption = False,
) -> None:
    """Upscale one video, in space and time.

    The output appears under its name only when it is complete and checked.
    """
    from diffst_cli.progress import print_summary, reporter
    from diffst_cli.run import run_job
    from diffst_cli.summary import require_good, write_receipt

    job = replace(make_job(source, Path(output)), output_is_folder=names_folder(output), ray=ray)
    if receipt is not None:
        _check_receipt(receipt, job)
    summary = run_job(job, reporter=reporter(quiet=quiet))
    if receipt is not None:
        write_receipt(receipt, summary)
    if not quiet:
        print_summary(summary)
    require_good(summary)


def _check_receipt(receipt: Path, job: UpscaleJob) -> None:
    """Refuses, before the work, a receipt that could not be written after it."""
    if is_one_of(receipt, (job.input, job.output)):
        raise UsageError(f"`--receipt` is `{receipt}`, which is the video itself")
    check_report(receipt, "--receipt")
    if is_taken(receipt) and not job.overwrite:
        raise UsageError(f"`{receipt}` exists", hint="`--overwrite` replaces it")
