"""`diffst benchmark`: how fast this machine is, by stage."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffst_cli.errors import UsageError
from diffst_cli.job import (
    DEFAULT_SCALE,
    PRECISIONS,
    UpscaleJob,
    parse_factor,
    parse_number,
    parse_size,
)
from diffst_cli.report_files import STDOUT, check_report, write_report

if TYPE_CHECKING:
    from diffst_cli.benchmark import Result
    from diffst_cli.model_benchmark import ModelPlan, ModelResult
    from diffst_cli.model_comparison import ModelComparison
    from diffst_cli.progress import Reporter


def benchmark(
    source: Annotated[
        Path | None,
        typer.Argument(metavar="[INPUT]", help="A video; a moving texture if not given."),
    ] = None,
    input_size: Annotated[
        str | None,
        typer.Option(metavar="WxH", help="Size of the moving texture; 320x180 if not given."),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(
            help="Input frames, from the beginning; 24 if not given. "
            "With --random-weights, output frames; 33 if not given."
        ),
    ] = None,
    scale: Annotated[str, typer.Option(metavar="FACTOR", help="Times width and height.")] = str(
        DEFAULT_SCALE
    ),
    size: Annotated[
        str | None,
        typer.Option(metavar="WxH", help="Size of the output; 1280x720 with --random-weights."),
    ] = None,
    fps_x: Annotated[str, typer.Option(metavar="FACTOR", help="Times the frame rate.")] = "2",
    model: Annotated[str, typer.Option(help="Model's name, or its folder.")] = UpscaleJob.model,
    random_weights: Annotated[
        bool,
        typer.Option(
            "--random-weights",
            help="The model alone, its weights random: for wan-1.3b, which has no trained ones.",
        ),
    ] = False,
    levers: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="With --random-weights: exact, stock (the modules of diffusers), or single levers "
            "with commas between them; exact if not given.",
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="auto, cpu, mps, cuda or cuda:N.")
    ] = UpscaleJob.device,
    precision: Annotated[
        str, typer.Option(help=f"{', '.join(PRECISIONS)}.")
    ] = UpscaleJob.precision,
    decoder: Annotated[
        str, typer.Option(help="full, or tiny for models of Wan's size.")
    ] = UpscaleJob.decoder,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="With --random-weights: stock modules, ours, ours with the tiny decoder, and stock sampling "
            "in 15 and 50 steps, one after another.",
        ),
    ] = False,
    repeats: Annotated[int, typer.Option(help="Runs that count, after one to warm up.")] = 3,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json", metavar="FILE", help="Also write every figure as JSON; - prints it."
        ),
    ] = None,
) -> None:
    """Measure speed on this machine, from file to file and by stage."""
    from diffst_cli.model_benchmark import DEFAULT_FRAMES, DEFAULT_OUTPUT, ModelPlan
    from diffst_cli.progress import reporter

    if json_file is not None:
        check_report(json_file, "--json")
    factor, rate_factor = parse_number(scale, "--scale"), parse_factor(fps_x, "--fps-x")
    wanted_size = None if size is None else parse_size(size, "--size")

    def make_job(clip: Path, output: Path, duration: Fraction | None = None) -> UpscaleJob:
        return UpscaleJob(
            input=clip,
            output=output,
            scale=factor if wanted_size is None else None,
            size=wanted_size,
            fps_x=rate_factor,
            duration=duration,
            model=model,
            device=device,
            precision=precision,
            decoder=decoder,
        )

    shown = reporter(quiet=False)
    measured: tuple[Result | ModelResult | ModelComparison, str]
    if random_weights:
        if source is not None or input_size is not None:
            raise UsageError(
                "`--random-weights` measures the model alone, without a video",
                hint="leave out INPUT and `--input-size`; `--size` and `--scale` say how large",
            )
        job = make_job(Path("none.mp4"), Path("none.mp4"))
        plan = ModelPlan(
            job=job,
            size=job.size or DEFAULT_OUTPUT,
            scale=factor,
            fps_x=rate_factor,
            num_frames=DEFAULT_FRAMES if frames is None else frames,
            repeats=repeats,
            levers="exact" if levers is None else levers,
        )
        measured = _measure_random(plan, shown, compare=compare)
    elif compare or levers is not None:
        raise UsageError("`--compare` and `--levers` go with `--random-weights`")
    else:
        measured = _measure_video(source, input_size, frames, repeats, make_job, shown)
    typer.echo(measured[1], err=json_file == STDOUT)
    if json_file is not None:
        write_json(json_file, measured[0], model=model)


def _measure_video(
    source: Path | None,
    input_size: str | None,
    frames: int | None,
    repeats: int,
    make_job: Callable[[Path, Path, Fraction], UpscaleJob],
    shown: Reporter,
) -> tuple[Result, str]:
    """From file to file: the figures, and as text."""
    from diffst_cli import benchmark

    plan = benchmark.Plan(
        source=source,
        size=None if input_size is None else parse_size(input_size, "--input-size"),
        num_frames=benchmark.DEFAULT_FRAMES if frames is None else frames,
        repeats=repeats,
        make_job=make_job,
    )
    result = benchmark.measure(plan, shown)
    return result, benchmark.report(result)


def _measure_random(
    plan: ModelPlan, shown: Reporter, *, compare: bool
) -> tuple[ModelResult | ModelComparison, str]:
    """The model alone, in one way or in all: the figures, and as text."""
    from diffst_cli import model_benchmark, model_comparison

    shown.begin(plan.job.model)
    try:
        if compare:
            compared = model_comparison.compare_ways(plan, shown.stage)
            return compared, model_comparison.report_comparison(compared)
        result = model_benchmark.measure_model(plan, shown.stage)
        return result, model_benchmark.report_model(result)
    finally:
        shown.end()


def write_json(path: Path, result: Result | ModelResult | ModelComparison, *, model: str) -> None:
    """Write the figures and what they were measured on.

    Raises:
        UserError: It cannot be written.
    """
    from importlib.metadata import version

    from diffst_cli.doctor import machine

    findings = {finding.name: finding.value for finding in machine()}
    content = {"diffst": version("diffst"), "model": model, "machine": findings, **asdict(result)}
    write_report(path, json.dumps(content, indent=1).encode() + b"\n")
