"""The options of an upscale, shared by every command that runs one."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from diffst_cli.codecs import CODECS
from diffst_cli.errors import UsageError
from diffst_cli.job import (
    DEFAULT_SCALE,
    MAX_SCALE,
    PRECISIONS,
    UpscaleJob,
    parse_devices,
    parse_factor,
    parse_number,
    parse_rate,
    parse_seconds,
    parse_size,
)

Parsed = TypeVar("Parsed")
JobMaker = Callable[[Path, Path], UpscaleJob]
"""Makes the job of an input and an output from the options given."""

# An option under a heading of the help.
in_size = functools.partial(typer.Option, rich_help_panel="Size and rate")
in_part = functools.partial(typer.Option, rich_help_panel="Part of the input")
in_model = functools.partial(typer.Option, rich_help_panel="Model")
in_sampling = functools.partial(typer.Option, rich_help_panel="Models that sample (STAR)")
in_output = functools.partial(typer.Option, rich_help_panel="Output")

JOB_MAKER = "make_job"  # the parameter that a command with these options takes instead of them

QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]

RayOption = Annotated[
    str | None,
    in_model(
        metavar="ADDRESS",
        help="Make segments on a Ray cluster: auto, or the HOST:PORT of its head. Needs the package's extra `ray`.",
    ),
]


def _job_options(
    scale: Annotated[
        str | None,
        in_size(
            metavar="FACTOR",
            help=f"Times width and height: any number above 0, at most {MAX_SCALE}; {DEFAULT_SCALE} if not given.",
        ),
    ] = None,
    size: Annotated[
        str | None, in_size(metavar="WxH", help="Exact size in pixels, instead of --scale.")
    ] = None,
    fps_x: Annotated[
        str | None,
        in_size(
            metavar="FACTOR",
            help="Times the frame rate: any number from 1 to 64. Variable rate stays variable; 1 if not given.",
        ),
    ] = None,
    fps: Annotated[
        str | None,
        in_size(
            metavar="RATE",
            help="Exact constant frame rate, as 60 or 60000/1001, instead of --fps-x.",
        ),
    ] = None,
    start: Annotated[
        str | None, in_part(metavar="TIME", help="Begin here: seconds, or h:mm:ss.")
    ] = None,
    duration: Annotated[
        str | None, in_part(metavar="TIME", help="Take this much, for a trial.")
    ] = None,
    model: Annotated[
        str, in_model(metavar="NAME", help="Model's name, or its folder.")
    ] = UpscaleJob.model,
    device: Annotated[
        str, in_model(metavar="NAME", help="auto (a CUDA GPU, else cpu), cpu, mps, cuda or cuda:N.")
    ] = UpscaleJob.device,
    devices: Annotated[
        str | None,
        in_model(
            metavar="LIST",
            help="Several at once, instead of --device: GPUs as 0,1, or cpu:2 for two processes.",
        ),
    ] = None,
    precision: Annotated[
        str,
        in_model(metavar="NAME", help=f"{', '.join(PRECISIONS)}; auto is bf16 where that is fast."),
    ] = UpscaleJob.precision,
    decoder: Annotated[
        str,
        in_model(
            metavar="NAME",
            help="full, or tiny for models of Wan's size: quicker, less exact; `models pull wan-tiny-decoder` first.",
        ),
    ] = UpscaleJob.decoder,
    vram_limit: Annotated[
        str | None,
        in_model(
            metavar="GB",
            help="Most memory, held to on a GPU: of the model. On a CPU planned for: of the whole program.",
        ),
    ] = None,
    steps: Annotated[
        int | None, in_sampling(metavar="NUMBER", help="Steps of the sampler.")
    ] = None,
    guidance: Annotated[
        float | None, in_sampling(metavar="NUMBER", help="How strongly the prompt counts.")
    ] = None,
    prompt: Annotated[str | None, in_sampling(metavar="TEXT", help="What the video shows.")] = None,
    seed: Annotated[
        int | None,
        in_sampling(metavar="NUMBER", help="Of all noise: the same seed gives the same result."),
    ] = None,
    windows: Annotated[
        str | None,
        in_sampling(
            metavar="HOW",
            help="How star-light and star-heavy join windows of a long clip: fade, or cut as their authors do.",
        ),
    ] = None,
    codec: Annotated[
        str | None,
        in_output(
            metavar="NAME",
            help=f"{', '.join(CODECS)}; chosen by container and bit depth if not given.",
        ),
    ] = None,
    crf: Annotated[
        float | None, in_output(metavar="NUMBER", help="The encoder's quality, lower is better.")
    ] = None,
    preset: Annotated[
        str | None, in_output(metavar="NAME", help="The encoder's speed preset.")
    ] = None,
    overwrite: Annotated[bool, in_output("--overwrite", help="Replace what exists.")] = False,
    restart: Annotated[
        bool,
        in_output(
            "--restart", help="Start over, instead of going on where the same command was stopped."
        ),
    ] = False,
    work_folder: Annotated[
        Path | None,
        in_output(
            metavar="DIR", help="Keep what is not finished here; beside the output if not given."
        ),
    ] = None,
) -> JobMaker:
    """The options themselves: their names, help and defaults; gives what makes jobs from them."""

    def make_job(source: Path, output: Path) -> UpscaleJob:
        if work_folder is not None and not work_folder.is_dir():
            raise UsageError(
                f"`--work-folder` is `{work_folder}`, which is no folder", hint="make it first"
            )
        return UpscaleJob(
            input=source,
            output=output,
            scale=_given(scale, parse_number, "--scale"),
            size=_given(size, parse_size, "--size"),
            fps_x=_given(fps_x, parse_factor, "--fps-x"),
            fps=_given(fps, parse_rate, "--fps"),
            start=_given(start, parse_seconds, "--start"),
            duration=_given(duration, parse_seconds, "--duration"),
            model=model,
            device=device,
            devices=_given(devices, parse_devices, "--devices") or (),
            precision=precision,
            decoder=decoder,
            vram_limit=_given(vram_limit, parse_number, "--vram-limit"),
            steps=steps,
            guidance=guidance,
            prompt=prompt,
            seed=seed,
            windows=windows,
            codec=codec,
            crf=crf,
            preset=preset,
            overwrite=overwrite,
            restart=restart,
            work_folder=work_folder,
        )

    return make_job


def names_folder(output: str) -> bool:
    """Whether an output as it was typed is a folder whatever its name; a `Path` holds no slash at its end."""
    return output.endswith(("/", os.sep))


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
    headed = [each for each in own.values() if _has_heading(each)]
    plain = [each for each in own.values() if not _has_heading(each)]
    # Headings come in the order of their first options: size and rate, which everyone needs, before the rest.
    parameters = [p.replace(kind=keyword) for p in (*plain, *shared.values(), *headed)]
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {p.name: p.annotation for p in parameters}
    return with_options


def _has_heading(parameter: inspect.Parameter) -> bool:
    options = getattr(parameter.annotation, "__metadata__", ())
    return any(getattr(each, "rich_help_panel", None) for each in options)


def _given(text: str | None, parse: Callable[[str, str], Parsed], option: str) -> Parsed | None:
    return None if text is None else parse(text, option)
