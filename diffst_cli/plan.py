"""What `diffst upscale` would do with a job, found by the same planner, without writing anything."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from diffst.star.names import COGVIDEOX_PIPELINE, star_pipeline
from diffst.wan.names import WAN_MODEL
from diffst_cli.forecast import (
    SizeForecast,
    TimeForecast,
    computed_time,
    forecast_disk,
    measured_time,
    unknown_time,
)
from diffst_cli.job import UpscaleJob
from diffst_cli.planner import LADDERS, RunPlan, plan_run
from diffst_cli.probe import VideoInfo, probe
from diffst_cli.reader import require_start
from diffst_cli.run import open_model, open_output
from diffst_cli.words import gigabytes

if TYPE_CHECKING:
    from diffst.upscaler import ModelRules
    from diffst_cli.writer import Output

USUAL_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm")  # that hold any rate and most codecs


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that `diffst plan` tells."""

    info: VideoInfo
    run: RunPlan
    """Of one process, where `--devices` asks for several."""
    num_processes: int
    output: Output
    time: TimeForecast
    disk: SizeForecast
    obstacles: tuple[str, ...]
    """Why `upscale` could not do it now, or might fail; one sentence each."""


def make_plan(job: UpscaleJob, *, is_named: bool) -> Plan:
    """The plan of a job.

    Args:
        job: What to do.
        is_named: Whether the user named the output; otherwise only its kind counts.

    Raises:
        UserError: The input, the output or the model is not usable: what `upscale` would say.
    """
    info = probe(job.input)
    require_start(info, job.start)
    # An output that nobody named has only a kind: whether a file of its name exists is no matter.
    output = open_output(job if is_named else replace(job, overwrite=True), info)
    num_gpus = len([device for device in job.devices if device != "cpu"])
    num_processes = max(len(job.devices), 1)
    if job.devices:
        job = replace(job, device=job.devices[0], devices=())
    if job.model in LADDERS:  # large: planned without loading it
        run = plan_run(job, info, large_rules(job.model))
        obstacles = [missing(job.model)]
        time = computed_time(run) if job.model == WAN_MODEL else unknown_time()
    else:
        model = open_model(job)
        run = plan_run(job, info, model.rules)
        obstacles = []
        time = measured_time(model, run)
    disk = forecast_disk(run, output, info, crf=job.crf)
    if time.seconds is not None and num_gpus > 1:  # processes on the CPU share its cores
        time = replace(time, seconds=time.seconds / num_gpus)
    return Plan(
        info=info,
        run=run,
        num_processes=num_processes,
        output=output,
        time=time,
        disk=disk,
        obstacles=tuple(filter(None, [*obstacles, *shortages(run, disk)])),
    )


def usual_output(source: Path) -> Path:
    """An output of the kind that fits an input: in its own container if that holds any video, else MP4."""
    suffix = source.suffix.lower()
    return Path(f"upscaled{suffix if suffix in USUAL_SUFFIXES else USUAL_SUFFIXES[0]}")


def large_rules(model: str) -> ModelRules:
    """How clips of a large model are cut, without loading it."""
    if model == WAN_MODEL:
        from diffst.wan.upscaler import RULES

        return RULES
    if star_pipeline(model) == COGVIDEOX_PIPELINE:
        from diffst.star import cogvideox_upscaler

        return cogvideox_upscaler.RULES
    from diffst.star.settings import StarSettings
    from diffst.star.upscaler import rules_of

    return rules_of(StarSettings())


def missing(model: str) -> str | None:
    """Why a large model cannot run here yet; None when it can."""
    from diffst_cli.downloaded import is_ready
    from diffst_cli.model_files import DOWNLOADS

    if model == WAN_MODEL:
        from diffst.wan.upscaler import NO_WEIGHTS

        return f"`{model}` cannot run: {NO_WEIGHTS}"
    here = is_ready(DOWNLOADS[model])
    return None if here else f"the model `{model}` is not here: `diffst models pull {model}`"


def shortages(run: RunPlan, disk: SizeForecast) -> list[str]:
    """What there may not be enough of."""
    found = []
    if not run.fits:
        found.append(
            f"the model may need {gigabytes(run.rung.device_bytes)} of memory, and "
            f"{gigabytes(run.budget_bytes)} are to be had: it may run out"
        )
    if disk.shortage is not None:
        found.append(disk.shortage)
    return found
