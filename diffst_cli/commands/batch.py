"""`diffst batch`: a folder of videos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffst_cli.commands.options import JobMaker, QuietOption, takes_job_options


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
    quiet: QuietOption = False,
) -> int:
    """Upscale every video of a folder, keeping its tree.

    What is already there is skipped, so a batch that was stopped goes on where it was. One bad file
    does not stop the rest; the exit code is 1 if any failed.
    """
    from diffst_cli.batch import find_jobs, run_batch
    from diffst_cli.progress import print_results, reporter

    jobs = find_jobs(make_job(source, output), glob)
    results = run_batch(jobs, reporter=reporter(quiet=quiet))
    if not quiet:
        print_results(results)
    return int(any(result.failed for result in results))
