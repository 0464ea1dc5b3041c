"""`diffst batch`: a folder of videos."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from diffst_cli.commands.options import JobMaker, QuietOption, RayOption, takes_job_options
from diffst_cli.report_files import check_report


@takes_job_options
def batch(
    source: Annotated[
        Path, typer.Argument(metavar="IN_DIR", help="Folder of videos, searched to its depths.")
    ],
    output: Annotated[
        Path, typer.Argument(metavar="OUT_DIR", help="Folder for the results; made if need be.")
    ],
    make_job: JobMaker,
    glob: Annotated[
        str | None,
        typer.Option(metavar="PATTERN", help="Take only files like this, as '*.mkv' or 'day1/*'."),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Add a line of JSON for each video, with its receipt, to this file.",
        ),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Stay, and take what appears in IN_DIR, until Ctrl-C.")
    ] = False,
    ray: RayOption = None,
    quiet: QuietOption = False,
) -> int:
    """Upscale every video of a folder, keeping its tree.

    What is already there is skipped, and a video that was stopped goes on after its last finished
    segment, so the same command goes on where the batch was. One bad file
    does not stop the rest; the exit code is 1 if any failed.
    """
    from diffst_cli.batch import find_jobs, run_batch, watch_folder
    from diffst_cli.progress import print_results, reporter

    if log is not None:
        if source.is_dir() and output.absolute() in (log.absolute(), log.absolute().parent):
            with suppress(OSError):  # which the check tells
                output.mkdir(parents=True, exist_ok=True)
        check_report(log, "--log", may_be_stdout=False)
    template = replace(make_job(source, output), ray=ray)
    if watch:
        find = partial(find_jobs, template, glob, may_be_empty=True)
        watch_folder(find, reporter=reporter(quiet=quiet), log_file=log)
    jobs = find_jobs(template, glob)
    results = run_batch(jobs, reporter=reporter(quiet=quiet), log_file=log)
    if not quiet:
        print_results(results)
    return int(any(result.failed for result in results))
