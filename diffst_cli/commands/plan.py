"""`diffst plan`: what an upscale would do, how long, how much memory and disk."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from diffst_cli.commands.options import JobMaker, names_folder, takes_job_options
from diffst_cli.report_files import STDOUT, check_report, write_report


@takes_job_options
def plan(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT", help="Video file, folder of pictures, or pattern like in_%05d.png."
        ),
    ],
    make_job: JobMaker,
    output: Annotated[
        str | None,
        typer.Argument(
            metavar="[OUTPUT]", help="What would be made; a video like the input if not given."
        ),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Also write the plan as JSON; - prints it."),
    ] = None,
) -> None:
    """Say what `upscale` would do with the same options: clips, memory, time, disk. Writes no video."""
    from diffst_cli.plan import make_plan, usual_output
    from diffst_cli.plan_report import report, to_json

    if json_file is not None:
        check_report(json_file, "--json")
    job = make_job(source, Path(output) if output else usual_output(source))
    job = replace(job, output_is_folder=names_folder(output or ""))
    planned = make_plan(job, is_named=output is not None)
    typer.echo(report(planned), err=json_file == STDOUT)
    if json_file is not None:
        write_report(json_file, json.dumps(to_json(planned), indent=1).encode() + b"\n")
