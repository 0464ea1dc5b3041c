"""Quality of upscalers against real video: degrade, upscale, compare. The protocol is docs/quality.md."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffst_cli.costs import Cost
from diffst_cli.errors import UserError
from diffst_cli.measuring import read_luma, vmaf
from diffst_cli.scores import ClipScore
from diffst_cli.systems import System
from diffst_cli.tracks import Reference, Track, find_clips, make_input, make_reference

if TYPE_CHECKING:
    from torch import Tensor

MIN_FRAMES = 3  # two keyframes and the new frame between them
MAX_MISSING_FRAMES = 2  # that a system may leave out at its end, as minterpolate does
MAX_SHIFT = 2  # frames by which a misaligned output is looked for
SHIFT_GAIN_DB = 0.5  # by which a shifted comparison must win to be called a misalignment
COST_FIELDS = {"frames_per_second", "cpu_seconds_per_frame", "peak_bytes"}  # of `ClipScore`
SCORE_VERSION = 1  # of kept scores: raise it when a metric changes


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What to compare on what."""

    reference_dir: Path
    """Folder of true videos."""
    work: Path
    """Folder that keeps references, degraded inputs, outputs and scores between runs."""
    systems: tuple[System, ...]
    """The upscalers."""
    tracks: tuple[Track, ...]
    """The ways to degrade."""
    num_frames: int
    """Frames of each clip, at most."""
    crf: float
    """x264 rate factor of the outputs; it names their folder."""


def evaluate(settings: Evaluation, on_clip: Callable[[str], None]) -> Iterator[ClipScore]:
    """Scores by track, then clip, then system, each as soon as it is known.

    Args:
        settings: What to compare.
        on_clip: Told what is about to be measured.

    Raises:
        UserError: A clip cannot be read, or a system fails or gives frames that do not match.
    """
    clips = find_clips(settings.reference_dir)
    references = [make_reference(clip, settings.work, settings.num_frames) for clip in clips]
    for track in settings.tracks:
        for reference in references:
            source = make_input(reference, track, settings.work)
            for system in settings.systems:
                on_clip(f"{track.name}: {reference.name}: {system.name}")
                folder = settings.work / "outputs" / f"crf{settings.crf:g}" / system.name
                output = folder / track.name / f"{reference.name}.mp4"
                cost = system.run(source, output, reference)
                score = score_output(output, reference, settings.work, track.name, system.name)
                yield score if cost is None else _with_cost(score, cost)


def _with_cost(score: ClipScore, cost: Cost) -> ClipScore:
    return replace(
        score,
        frames_per_second=score.num_frames / cost.seconds,
        cpu_seconds_per_frame=cost.cpu_seconds / score.num_frames,
        peak_bytes=cost.peak_bytes,
    )


def score_folder(
    folder: Path, reference_dir: Path, work: Path, *, track: str, num_frames: int
) -> list[ClipScore]:
    """Scores of finished outputs, wherever they come from.

    Args:
        folder: Videos named as the references are, whose frame i is the reference's frame i.
        reference_dir: Folder of true videos; those without an output are left out.
        work: As of `Evaluation`.
        track: Recorded with the scores.
        num_frames: Frames of each clip, at most.

    Raises:
        UserError: No output is there, or one does not match its reference.
    """
    outputs = {path.stem: path for path in find_clips(folder)}
    clips = [clip for clip in find_clips(reference_dir) if clip.stem in outputs]
    if not clips:
        raise UserError(f"no video in `{folder}` is named as one in `{reference_dir}`")
    references = [make_reference(clip, work, num_frames) for clip in clips]
    return [
        score_output(outputs[reference.name], reference, work, track, folder.name)
        for reference in references
    ]


def score_output(
    output: Path, reference: Reference, work: Path, track: str, system: str
) -> ClipScore:
    """Compare one output with its reference, or find the same comparison under `work`."""
    digest = hashlib.sha256(output.read_bytes() + reference.path.read_bytes()).hexdigest()
    kept = work / "scores" / f"{digest}-v{SCORE_VERSION}.json"
    if kept.exists():
        numbers: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        numbers |= {"track": track, "clip": reference.name, "system": system}
        lists_as_tuples: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in numbers.items()
        }
        return ClipScore(**lists_as_tuples)
    score = _measure(output, reference, track, system)
    kept.parent.mkdir(parents=True, exist_ok=True)
    unfinished = kept.with_suffix(f".{os.getpid()}")
    numbers = {key: value for key, value in asdict(score).items() if key not in COST_FIELDS}
    unfinished.write_text(json.dumps(numbers), encoding="utf-8")
    unfinished.replace(kept)
    return score


def _measure(output: Path, reference: Reference, track: str, system: str) -> ClipScore:
    """Every metric on the frames that output and reference share.

    Raises:
        UserError: The output's size, length or alignment is wrong.
    """
    from diffst.metrics import frame_difference_error, psnr, ssim, warping_error

    true = read_luma(reference.path)
    true = true[: len(true) - 1 + len(true) % 2]  # the last frame is one that the input kept
    mine = read_luma(output, max_frames=len(true))
    num_frames = _check_match(mine, true, output)
    mine, true = mine[:num_frames], true[:num_frames]
    warping = warping_error([mine, true], true)
    return ClipScore(
        track=track,
        clip=reference.name,
        system=system,
        psnr_y=tuple(psnr(mine, true).tolist()),
        ssim=tuple(ssim(mine, true).tolist()),
        vmaf=vmaf(output, reference.path, num_frames),
        frame_difference=tuple(frame_difference_error(mine, true).tolist()),
        warping=tuple(warping[0].tolist()),
        true_warping=tuple(warping[1].tolist()),
    )


def _check_match(mine: "Tensor", true: "Tensor", output: Path) -> int:
    """How many frames can be compared, once the output is known to fit its reference.

    Raises:
        UserError: Another size, too few frames, or frames shifted in time.
    """
    if mine.shape[1:] != true.shape[1:]:
        sizes = [f"{planes.shape[2]}x{planes.shape[1]}" for planes in (mine, true)]
        raise UserError(f"`{output}` is {sizes[0]}, its reference {sizes[1]}")
    if len(mine) < max(len(true) - MAX_MISSING_FRAMES, MIN_FRAMES):
        raise UserError(
            f"`{output}` has {len(mine)} frames, its reference {len(true)}",
            hint="the output must have twice the frame rate of the degraded clip",
        )
    shift = find_shift(mine, true)
    if shift:
        raise UserError(
            f"`{output}` is out of step: its frame i looks like frame i{shift:+d} of the reference",
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
