"""`diffst benchmark`: how fast this machine is, by stage."""

from __future__ import annotations

import json
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffst_cli.errors import UserError
from diffst_cli.job import DEFAULT_SCALE, PRECISIONS, UpscaleJob, parse_number, parse_size

if TYPE_CHECKING:
    from diffst_cli.benchmark import Result


def benchmark(
    source: Annotated[
        Path | None,
        typer.Argument(metavar="[INPUT]", help="A video; a moving texture if not given."),
    ] = None,
    input_size: Annotated[
        str | None,
        typer.Option(metavar="WxH", help="Size of the moving texture; 320x180 if not given."),
    ] = None,
    frames: Annotated[int, typer.Option(help="Input frames, from the beginning.")] = 24,
    scale: Annotated[str, typer.Option(metavar="FACTOR", help="Times width and height.")] = str(
        DEFAULT_SCALE
    ),
    fps_x: Annotated[str, typer.Option(metavar="FACTOR", help="Times the frame rate.")] = "2",
    model: Annotated[str, typer.Option(help="Model's name, or its folder.")] = UpscaleJob.model,
    device: Annotated[
        str, typer.Option(help="auto, cpu, mps, cuda or cuda:N.")
    ] = UpscaleJob.device,
    precision: Annotated[
        str, typer.Option(help=f"{', '.join(PRECISIONS)}.")
    ] = UpscaleJob.precision,
    repeats: Annotated[int, typer.Option(help="Runs that count, after one to warm up.")] = 3,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write every figure as JSON.")
    ] = None,
) -> None:
    """Measure speed on this machine, from file to file and by stage."""
    from diffst_cli.benchmark import Plan, measure, report
    from diffst_cli.progress import reporter

    factor, rate_factor = parse_number(scale, "--scale"), parse_number(fps_x, "--fps-x")

    def make_job(clip: Path, output: Path, duration: Fraction) -> UpscaleJob:
        return UpscaleJob(
            input=clip,
            output=output,
            scale=factor,
            fps_x=rate_factor,
            duration=duration,
            model=model,
            device=device,
            precision=precision,
        )

    plan = Plan(
        source=source,
        size=None if input_size is None else parse_size(input_size, "--input-size"),
        num_frames=frames,
        repeats=repeats,
        make_job=make_job,
    )
    result = measure(plan, reporter(quiet=False))
    typer.echo(report(result))
    if json_file is not None:
        write_json(json_file, result, model=model)


def write_json(path: Path, result: Result, *, model: str) -> None:
    """Write the figures and what they were measured on.

    Raises:
        UserError: It cannot be written.
    """
    from importlib.metadata import version

    from diffst_cli.doctor import machine

    findings = {finding.name: finding.value for finding in machine()}
    content = {"diffst": version("diffst"), "model": model, "machine": findings, **asdict(result)}
    try:
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write `{path}`: {error.strerror}") from error
