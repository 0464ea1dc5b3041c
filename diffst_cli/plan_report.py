"""A plan as lines of text, and as plain values for JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from diffst_cli.forecast import UNKNOWN, SizeForecast, TimeForecast
from diffst_cli.plan import Plan
from diffst_cli.planner import RunPlan
from diffst_cli.progress import clock, length
from diffst_cli.streams import describe
from diffst_cli.words import counted, gigabytes, printable

if TYPE_CHECKING:
    from diffst_cli.writer import Output


def report(plan: Plan) -> str:
    """The plan as lines of text."""
    kept = [describe(stream.source) for stream in plan.output.streams.kept]
    rows = [
        ("input", _input(plan)),
        ("output", _output(plan)),
        ("clips", _clips(plan.run)),
        ("model", _model(plan)),
        ("at once", plan.run.rung.words),
        ("memory", _memory(plan.run)),
        ("time", _time(plan.time)),
        ("disk", _disk(plan.disk)),
        ("encoding", _encoding(plan.output)),
        *(("kept", stream) for stream in kept),
        *(("note", note) for note in (*plan.output.encoding.notes, *plan.output.streams.notes)),
        *(("PROBLEM", obstacle) for obstacle in plan.obstacles),
    ]
    return "\n".join(f"{name:9} {printable(value)}" for name, value in rows)


def to_json(plan: Plan) -> dict[str, Any]:
    """The plan as plain values; sizes in bytes and pixels, times in seconds."""
    run, output = plan.run, plan.output
    return {
        "input": {
            "path": str(plan.info.path),
            "size": [plan.info.width, plan.info.height],
            "frame_rate": float(plan.info.frame_rate),
            "variable_rate": plan.info.is_variable,
        },
        "output": {
            "size": list(run.size),
            "coded_size": list(output.encoding.size),
            "frame_rate": float(run.frame_rate),
            "frames": run.num_frames,
            "seconds": None if run.num_frames is None else float(run.num_frames / run.frame_rate),
            "codec": output.encoding.codec.name,
            "encoder": output.encoding.codec.encoder,
            "pixel_format": output.encoding.pixel_format,
            "kept_streams": [describe(stream.source) for stream in output.streams.kept],
            "notes": [*output.encoding.notes, *output.streams.notes],
        },
        "clips": {"number": run.num_clips, **asdict(run.clip_rules)},
        "model": {"name": run.model, "device": run.device, "precision": run.precision},
        "processes": plan.num_processes,
        "memory": {
            "free_bytes": run.free_bytes,
            "limit_bytes": run.limit_bytes,
            "budget_bytes": run.budget_bytes,
            "model_bytes": run.rung.device_bytes,
            "beside_bytes": run.host_bytes + run.rung.host_bytes,
            "fits": run.fits,
            "rung": run.chosen,
            "rungs": [
                {"words": rung.words, "parts": rung.parts, "model_bytes": rung.device_bytes}
                | asdict(rung.limits)
                for rung in run.rungs
            ],
        },
        "time": asdict(plan.time),
        "disk": asdict(plan.disk),
        "obstacles": list(plan.obstacles),
    }


def _input(plan: Plan) -> str:
    info = plan.info
    rate = f"{float(info.frame_rate):.4g} fps{' on average' if info.is_variable else ''}"
    lasts = "" if info.duration_seconds is None else f", {length(float(info.duration_seconds))}"
    return f"`{info.path}`: {info.width}x{info.height}, {rate}{lasts}"


def _output(plan: Plan) -> str:
    run = plan.run
    size = f"{run.size[0]}x{run.size[1]}, {float(run.frame_rate):.4g} fps"
    if run.num_frames is None:
        return f"{size}, as long as the input, whose length is not known"
    seconds = float(run.num_frames / run.frame_rate)
    return f"{size}, about {counted(run.num_frames, 'frame')}, {length(seconds)}"


def _clips(run: RunPlan) -> str:
    rules = run.clip_rules
    kind = f"at most {rules.clip_keyframes} input frames each, {rules.overlap_keyframes} shared"
    if run.num_clips is None:
        return kind
    return f"about {run.num_clips}, more if there are cuts; {kind}"


def _model(plan: Plan) -> str:
    run, several = plan.run, ""
    if plan.num_processes > 1:
        several = f", in {plan.num_processes} processes; memory is that of one"
    return f"{run.model} on {run.device}, {run.precision}{several}"


def _memory(run: RunPlan) -> str:
    limit = "" if run.limit_bytes is None else f", {gigabytes(run.limit_bytes)} allowed"
    if run.device == "cpu":
        total = gigabytes(run.host_bytes + run.rung.device_bytes)
        return f"about {total} with ffmpeg, of {gigabytes(run.free_bytes)} free{limit} (computed)"
    return (
        f"about {gigabytes(run.rung.device_bytes)} on the device, of {gigabytes(run.free_bytes)} free"
        f"{limit}, and {gigabytes(run.host_bytes + run.rung.host_bytes)} of main memory (computed)"
    )


def _time(time: TimeForecast) -> str:
    if time.source == UNKNOWN or time.seconds is None:
        return f"not known: {time.explanation}" if time.source == UNKNOWN else "not known"
    return f"about {clock(time.seconds)}, {time.source} {time.explanation}"


def _disk(disk: SizeForecast) -> str:
    free = f"{gigabytes(disk.free_bytes)} free"
    if disk.video_bytes is None or disk.working_bytes is None:
        return f"not known, {free}"
    return (
        f"about {gigabytes(disk.video_bytes)}, half to twice as much by content; "
        f"{gigabytes(disk.working_bytes)} while finishing, {free}"
    )


def _encoding(output: Output) -> str:
    encoding = output.encoding
    options = encoding.options
    settings = [f"{name} {options[name]}" for name in ("crf", "cq", "preset") if name in options]
    words = [f"{encoding.codec.name} (`{encoding.codec.encoder}`)", encoding.pixel_format]
    return f"{', '.join([*words, *settings])}, in a `{output.target.suffix}` file"
