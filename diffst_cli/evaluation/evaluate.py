"""Quality of upscalers against real video: degrade, upscale, compare. The protocol is docs/quality.md."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from diffst_cli.errors import UserError
from diffst_cli.evaluation.costs import Cost
from diffst_cli.evaluation.layouts import Clip, find_members, find_set
from diffst_cli.evaluation.measures import Metric, Pair, read_pair
from diffst_cli.evaluation.scores import ClipScore, Series
from diffst_cli.evaluation.systems import System
from diffst_cli.evaluation.tracks import (
    SCALE,
    TRACKS,
    Reference,
    make_input,
    make_reference,
    take_input,
)
from diffst_cli.hashing import sha256
from diffst_cli.probe import probe, resolved_colour
from diffst_cli.progress import Reporter

if TYPE_CHECKING:
    from torch import Tensor

MIN_FRAMES = 3  # two keyframes and the new frame between them
MAX_MISSING_FRAMES = 2  # that a system may leave out at its end, as minterpolate does
MAX_SHIFT = 2  # frames by which a misaligned output is looked for
RATE_TOLERANCE = 0.01  # relative: a clock that counts milliseconds rounds the rate of a short clip
SHIFT_GAIN_DB = 0.5  # by which a shifted comparison must win to be called a misalignment


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What to compare on what."""

    reference_dir: Path
    """Folder of true videos, or of a test set."""
    work: Path
    """Folder that keeps references, degraded inputs, outputs and scores between runs."""
    systems: tuple[System, ...]
    """The upscalers."""
    tracks: tuple[str, ...]
    """The ways to degrade, of `TRACKS`, or the set's own inputs, of `OWN_TRACKS`."""
    metrics: tuple[Metric, ...]
    """What to measure."""
    num_frames: int
    """Frames of each clip, at most."""
    crf: float
    """x264 rate factor of the outputs; it names their folder."""


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """What was measured."""

    scores: list[ClipScore]
    """By track, then clip, then system."""
    left_out: tuple[str, ...]
    """Clips and systems that failed; no score is theirs."""


def evaluate(settings: Evaluation, reporter: Reporter) -> Evaluated:
    """Measure every system on every clip of every track.

    A clip that cannot be read is left out for all systems. A system that fails is left out from there on, and
    of what is returned: its means would be over other clips than those of the rest.

    Args:
        settings: What to compare.
        reporter: Told what is about to be measured, and of each clip and system that failed.

    Raises:
        UserError: No clip can be read, or the last system that was left fails or gives frames that
            do not match.
    """
    clips = find_set(settings.reference_dir)
    _check_inputs(clips, settings.tracks)
    ready = _make_ready(clips, settings, reporter)
    systems, scores = list(settings.systems), []
    for track in settings.tracks:
        for reference, inputs in ready:
            source = inputs[track]
            for system in tuple(systems):
                reporter.stage(f"{track}: {reference.name}: {system.name}")
                try:
                    scores.append(_score_system(system, source, reference, track, settings))
                except UserError as error:
                    systems.remove(system)
                    if not systems:
                        raise
                    reporter.fail(error)
                    reporter.warn(f"`{system.name}` is left out of what follows, and of the tables")
    measured = {reference.name for reference, _ in ready}
    left_out = [clip.name for clip in clips if clip.name not in measured]
    left_out += [system.name for system in settings.systems if system not in systems]
    left = {system.name for system in systems}
    return Evaluated(
        scores=[score for score in scores if score.system in left], left_out=tuple(left_out)
    )


def _make_ready(
    clips: Sequence[Clip], settings: Evaluation, reporter: Reporter
) -> list[tuple[Reference, dict[str, Path]]]:
    """Of each clip that can be read, the reference and its input by track.

    Raises:
        UserError: There is none.
    """
    ready: list[tuple[Reference, dict[str, Path]]] = []
    for clip in clips:
        reporter.stage(f"preparing {clip.name}")
        try:
            reference = make_reference(clip, settings.work, settings.num_frames)
            inputs = {track: _input(clip, reference, track, settings) for track in settings.tracks}
        except UserError as error:
            if not ready and clip is clips[-1]:
                raise
            reporter.fail(error)
            reporter.warn(f"`{clip.name}` is left out")
        else:
            ready.append((reference, inputs))
    return ready


def _score_system(
    system: System, source: Path, reference: Reference, track: str, settings: Evaluation
) -> ClipScore:
    """Run one system on one clip, and compare; an output that does not fit is not used again.

    Raises:
        UserError: It fails or gives frames that do not match.
    """
    folder = settings.work / "outputs" / f"crf{settings.crf:g}" / system.name
    output = folder / track / f"{reference.name}.mp4"
    cost = system.run(source, output, reference)
    try:
        score = score_output(
            output, reference, settings.work, settings.metrics, track=track, system=system.name
        )
    except UserError:
        system.forget(output)
        raise
    return score if cost is None else _with_cost(score, cost)


def _check_inputs(clips: Sequence[Clip], tracks: Sequence[str]) -> None:
    """See that every clip has what the tracks need.

    Raises:
        UserError: A track is the set's own, and a clip has no input for it.
    """
    for track in tracks:
        for clip in clips:
            if track not in TRACKS and track not in clip.inputs:
                own = ", ".join(clip.inputs) or "none of its own"
                raise UserError(
                    f"the set has no `{track}` input for `{clip.name}`", hint=f"it has: {own}"
                )


def _input(clip: Clip, reference: Reference, track: str, settings: Evaluation) -> Path:
    """The small clip to upscale: made from the reference, or the set's own."""
    if track in TRACKS:
        return make_input(reference, TRACKS[track], settings.work)
    return take_input(clip.inputs[track], reference, track, settings.work, settings.num_frames)


def _with_cost(score: ClipScore, cost: Cost) -> ClipScore:
    return replace(
        score,
        frames_per_second=score.num_frames / cost.seconds,
        cpu_seconds_per_frame=cost.cpu_seconds / score.num_frames,
        peak_bytes=cost.peak_bytes,
    )


def score_folder(
    folder: Path,
    reference_dir: Path,
    work: Path,
    metrics: Sequence[Metric],
    *,
    track: str,
    num_frames: int,
) -> list[ClipScore]:
    """Scores of finished outputs, wherever they come from.

    Args:
        folder: Videos named as the references are, whose frame i is the reference's frame i.
        reference_dir: Folder of true videos; those without an output are left out.
        work: As of `Evaluation`.
        metrics: What to measure.
        track: Recorded with the scores.
        num_frames: Frames of each clip, at most.

    Raises:
        UserError: No output is there, or one does not match its reference.
    """
    if not folder.is_dir():
        raise UserError(f"`{folder}` is not a folder", hint="give a folder of finished outputs")
    outputs = find_members(folder)
    clips = [clip for clip in find_set(reference_dir) if clip.name in outputs]
    if not clips:
        raise UserError(f"no video in `{folder}` is named as one in `{reference_dir}`")
    references = [make_reference(clip, work, num_frames) for clip in clips]
    return [
        score_output(
            outputs[reference.name], reference, work, metrics, track=track, system=folder.name
        )
        for reference in references
    ]


def score_output(
    output: Path,
    reference: Reference,
    work: Path,
    metrics: Sequence[Metric],
    *,
    track: str,
    system: str,
) -> ClipScore:
    """Compare one output with its reference, or find the same comparison under `work`.

    Raises:
        UserError: The output's size, rate, length or alignment is wrong.
    """
    digest = sha256(output, reference.path)
    kept = {
        metric.name: work / "scores" / f"{digest}-{metric.name}-{metric.version}.json"
        for metric in metrics
    }
    missing = [metric for metric in metrics if not kept[metric.name].exists()]
    if missing:
        whose = f"`{system}` on `{reference.name}` ({track})"
        pair = _open_pair(output, reference, whose)
        _check_rate(output, reference, whose)
        for metric in missing:
            _keep(metric.measure(pair), len(pair.luma), kept[metric.name])
    series: dict[str, Series] = {}
    for path in kept.values():
        numbers = json.loads(path.read_text(encoding="utf-8"))
        num_frames = numbers["num_frames"]
        series |= {key: tuple(values) for key, values in numbers["series"].items()}
    return ClipScore(
        track=track, clip=reference.name, system=system, num_frames=num_frames, series=series
    )


def _keep(series: Mapping[str, Series], num_frames: int, path: Path) -> None:
    """Write what a metric gave; the file is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}")
    numbers = {"num_frames": num_frames, "series": series}
    unfinished.write_text(json.dumps(numbers), encoding="utf-8")
    unfinished.replace(path)


def _open_pair(output: Path, reference: Reference, whose: str) -> Pair:
    """The frames that output and reference share.

    Raises:
        UserError: The output's size, length or alignment is wrong; `whose` it is, is told.
    """
    try:
        _check_form(output)
        mine, true = read_pair(output, reference.path)
        if (mine.shape[2], mine.shape[1]) == reference.uncut:
            mine = mine[:, : reference.height, : reference.width]
        num_frames = _check_match(mine, true)
    except UserError as error:
        hint = f"{error.hint}; see `{output}`" if error.hint else f"see `{output}`"
        raise UserError(f"{whose}: {error.message}", hint=hint) from None
    return Pair(
        output=output,
        reference=reference.path,
        luma=mine[:num_frames],
        true_luma=true[:num_frames],
    )


def _check_rate(output: Path, reference: Reference, whose: str) -> None:
    """See that an output plays as fast as its reference, which comparing frame by frame would not tell.

    Raises:
        UserError: Its frame rate is another; `whose` it is, is told.
    """
    rate = probe(output).frame_rate
    if abs(rate / reference.frame_rate - 1) > RATE_TOLERANCE:
        raise UserError(
            f"{whose}: the output has {float(rate):.4g} frames/s, its reference {float(reference.frame_rate):.4g}",
            hint=f"the output must have twice the frame rate of the degraded clip; see `{output}`",
        )


def _check_form(output: Path) -> None:
    """See that an output's luma can be compared as it is stored.

    Raises:
        UserError: It is RGB, of full range, or cannot be read.
    """
    info = probe(output)
    if info.is_rgb or resolved_colour(info).range == "pc":
        raise UserError(
            f"the output is {info.pixel_format} of full range, its reference yuv420p of limited range",
            hint="write limited range, as `-pix_fmt yuv420p -color_range tv`",
        )


def _check_match(mine: "Tensor", true: "Tensor") -> int:
    """How many frames can be compared, once the output is known to fit its reference.

    Raises:
        UserError: Another size, too few frames, or frames shifted in time.
    """
    if mine.shape[1:] != true.shape[1:]:
        sizes = [f"{planes.shape[2]}x{planes.shape[1]}" for planes in (mine, true)]
        raise UserError(
            f"the output is {sizes[0]}, its reference {sizes[1]}",
            hint=f"the output must be {SCALE} times as wide and high as the degraded clip",
        )
    if len(mine) < max(len(true) - MAX_MISSING_FRAMES, MIN_FRAMES):
        raise UserError(
            f"the output has {len(mine)} frames, its reference {len(true)}",
            hint="the output must have twice the frame rate of the degraded clip",
        )
    shift = find_shift(mine, true)
    if shift:
        raise UserError(
            f"the output is out of step: its frame i looks like frame i{shift:+d} of the reference",
            hint="its first frame must be the degraded clip's first frame",
        )
    return len(mine)


def find_shift(output: "Tensor", reference: "Tensor") -> int:
    """Frames by which the output runs ahead of the reference: 0 unless another fits clearly better.

    Args:
        output: Planes, (T, H, W) uint8.
        reference: At least T planes of the same size.
    """
    from diffst.metrics import psnr

    middle = range(
        MAX_SHIFT, len(output) - MAX_SHIFT, 2
    )  # frames that have all neighbours; kept ones
    if not middle:
        return 0
    fits = {}
    for shift in range(-MAX_SHIFT, MAX_SHIFT + 1):
        moved = [index + shift for index in middle]
        fits[shift] = float(psnr(output[list(middle)], reference[moved]).mean())
    best = max(fits, key=lambda shift: fits[shift])
    return best if fits[best] > fits[0] + SHIFT_GAIN_DB else 0
