"""The options of an upscale, shared by every command that runs one."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from diffst_cli.codecs import CODECS
from diffst_cli.job import (
    DEFAULT_SCALE,
    MAX_SCALE,
    PRECISIONS,
    UpscaleJob,
    parse_devices,
    parse_number,
    parse_rate,
    parse_seconds,
    parse_size,
)

Parsed = TypeVar("Parsed")
JobMaker = Callable[[Path, Path], UpscaleJob]
"""Makes the job of an input and an output from the options given."""

SIZE_PANEL = "Size and rate"
MODEL_PANEL = "Model"
SAMPLING_PANEL = "Models that sample (STAR)"
PART_PANEL = "Part of the input"
OUTPUT_PANEL = "Output"
JOB_MAKER = "make_job"  # the parameter that a command with these options takes instead of them

QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]

RayOption = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Make segments on a Ray cluster: auto, or the HOST:PORT of its head. Needs diffst[ray].",
        rich_help_panel=MODEL_PANEL,
    ),
]


def _job_options(
    scale: Annotated[
        str | None,
        typer.Option(
            metavar="FACTOR",
            help=f"Times width and height: any number above 0, at most {MAX_SCALE}; {DEFAULT_SCALE} if not given.",
            rich_help_panel=SIZE_PANEL,
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="WxH",
            help="Exact size in pixels, instead of --scale.",
            rich_help_panel=SIZE_PANEL,
        ),
    ] = None,
    fps_x: Annotated[
        str | None,
        typer.Option(
            metavar="FACTOR",
            help="Times the frame rate: any number from 1. Variable rate stays variable; 1 if not given.",
            rich_help_panel=SIZE_PANEL,
        ),
    ] = None,
    fps: Annotated[
        str | None,
        typer.Option(
            metavar="RATE",
            help="Exact constant frame rate, as 60 or 60000/1001, instead of --fps-x.",
            rich_help_panel=SIZE_PANEL,
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Begin here: seconds, or h:mm:ss.", rich_help_panel=PART_PANEL
        ),
    ] = None,
    duration: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Take this much, for a trial.", rich_help_panel=PART_PANEL
        ),
    ] = None,
    model: Annotated[
        str, typer.Option(help="Model's name, or its folder.", rich_help_panel=MODEL_PANEL)
    ] = UpscaleJob.model,
    device: Annotated[
        str, typer.Option(help="auto, cpu, mps, cuda or cuda:N.", rich_help_panel=MODEL_PANEL)
    ] = UpscaleJob.device,
    devices: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Several at once, instead of --device: GPUs as 0,1, or cpu:2 for two processes.",
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None,
    precision: Annotated[
        str, typer.Option(help=f"{', '.join(PRECISIONS)}.", rich_help_panel=MODEL_PANEL)
    ] = UpscaleJob.precision,
    vram_limit: Annotated[
        str | None,
        typer.Option(
            metavar="GB",
            help="Most memory that the model may take: of the GPU, or of main memory without one.",
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(help="Steps of the sampler.", rich_help_panel=SAMPLING_PANEL),
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(help="How strongly the prompt counts.", rich_help_panel=SAMPLING_PANEL),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="What the video shows.", rich_help_panel=SAMPLING_PANEL),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Of all noise: the same seed gives the same result.",
            rich_help_panel=SAMPLING_PANEL,
        ),
    ] = None,
    codec: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"{', '.join(CODECS)}; chosen by container and bit depth if not given.",
            rich_help_panel=OUTPUT_PANEL,
        ),
    ] = None,
    crf: Annotated[
        float | None,
        typer.Option(help="The encoder's quality, lower is better.", rich_help_panel=OUTPUT_PANEL),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The encoder's speed preset.", rich_help_panel=OUTPUT_PANEL
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what exists.", rich_help_panel=OUTPUT_PANEL)
    ] = False,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart",
            help="Start over, instead of going on where the same command was stopped.",
            rich_help_panel=OUTPUT_PANEL,
        ),
    ] = False,
    work_folder: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep what is not finished here; beside the output if not given.",
            rich_help_panel=OUTPUT_PANEL,
        ),
    ] = None,
) -> JobMaker:
    """The options themselves: their names, help and defaults; gives what makes jobs from them."""

    def make_job(source: Path, output: Path) -> UpscaleJob:
        return UpscaleJob(
            input=source,
            output=output,
            scale=_given(scale, parse_number, "--scale"),
            size=_given(size, parse_size, "--size"),
            fps_x=_given(fps_x, parse_number, "--fps-x"),
            fps=_given(fps, parse_rate, "--fps"),
            start=_given(start, parse_seconds, "--start"),
            duration=_given(duration, parse_seconds, "--duration"),
            model=model,
            device=device,
            devices=_given(devices, parse_devices, "--devices") or (),
            precision=precision,
            vram_limit=_given(vram_limit, parse_number, "--vram-limit"),
            steps=steps,
            guidance=guidance,
            prompt=prompt,
            seed=seed,
            codec=codec,
            crf=crf,
            preset=preset,
            overwrite=overwrite,
            restart=restart,
            work_folder=work_folder,
        )

    return make_job


def takes_job_options(command: Callable[..., int | None]) -> Callable[..., int | None]:
    """Gives a command every option of an upscale; it receives them as one `make_job: JobMaker`."""
    shared = inspect.signature(_job_options, eval_str=True).parameters
    own = dict(inspect.signature(command, eval_str=True).parameters)
    del own[JOB_MAKER]

    @functools.wraps(command)
    def with_options(**values: Any) -> int | None:
        given = {name: values.pop(name) for name in shared}
        return command(**values, **{JOB_MAKER: _job_options(**given)})

    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [p.replace(kind=keyword) for p in (*own.values(), *shared.values())]
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {p.name: p.annotation for p in parameters}
    return with_options


def _given(text: str | None, parse: Callable[[str, str], Parsed], option: str) -> Parsed | None:
    return None if text is None else parse(text, option)
