"""What a run needs to know before it starts: clip length, queue length and frames to come.

`plan_run` chooses everything that depends on memory; `diffst plan` prints what `diffst upscale` uses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from diffst.folders import held_class
from diffst.wan.names import WAN_MODEL
from diffst_cli.clips import ClipRules
from diffst_cli.errors import UserError
from diffst_cli.free_memory import GIGABYTE, free_bytes
from diffst_cli.job import UpscaleJob
from diffst_cli.ladders import (
    Rung,
    Workload,
    cogvideox_ladder,
    nano_ladder,
    star_ladder,
    wan_ladder,
)
from diffst_cli.libraries import load_libraries
from diffst_cli.segments import MAX_KEYFRAMES
from diffst_cli.words import gigabytes

if TYPE_CHECKING:
    from diffst.upscaler import ModelRules
    from diffst_cli.probe import VideoInfo

QUEUE_BYTES = 64 * 2**20  # of frames waiting between two threads
MAX_QUEUE_FRAMES = 16
MAX_CLIP_BYTES = 512 * 2**20  # of output frames in one clip
# Of a clip's keyframes, which take about 40 bytes a pixel with their motion.
MAX_CLIP_PIXELS = 16 * 1920 * 1080
# Of the keyframes of a segment, which an interrupt may lose: minutes of a slow CPU.
MAX_SEGMENT_PIXELS = 32 * 1920 * 1080

STAR_GPU_PRECISION = "fp16"  # of the published results
USED_SHARE = 0.9  # of the free memory; the rest is for what else runs, and for the laws' error
DEVICE_RESERVE_BYTES = 1.0e9  # CUDA's context, the libraries' work space, the allocator's slack
PROCESS_BYTES = 0.55e9  # Python, torch and our own code, measured
CODER_BYTES = 0.1e9  # the two ffmpeg processes, without their frames
ENCODER_FRAMES = 60  # that x264 looks ahead and refers to
DECODER_FRAMES = 16
CODER_SAMPLES = Fraction(3, 2)  # a pixel, in 4:2:0

LADDERS: dict[str, Callable[[Workload], Iterator[Rung]]] = {
    WAN_MODEL: wan_ladder,
    "star-light": star_ladder,
    "star-heavy": star_ladder,
    "star-cogvideox": cogvideox_ladder,
}
"""By model."""
PIPELINES = {
    "DiffSTWanPipeline": WAN_MODEL,
    "StarPipeline": "star-light",
    "StarCogVideoXPipeline": "star-cogvideox",
}
"""Class of a pipeline folder -> the model whose laws it follows."""
LARGE_BYTES = 10**9  # of weights; the laws are of whole models, not of small ones of the same class


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """Everything about a run that follows from its job, its input and this machine."""

    model: str
    device: str
    """As torch names it."""
    precision: str
    """`bf16`, `fp16` or `fp32`."""
    size: tuple[int, int]
    """Width and height of the output, in pixels."""
    frame_rate: Fraction
    """Of the output; the average where it varies."""
    num_frames: int | None
    """Of the output, about; None when the file does not tell its length."""
    num_clips: int | None
    """About, if there are no cuts: a cut ends a clip early."""
    clip_rules: ClipRules
    """How long clips are; these follow from sizes alone, so that results do not depend on free memory."""
    work: Workload
    """Of one clip."""
    queue_in: int
    """Decoded frames that may wait for the model."""
    queue_out: int
    """Finished frames that may wait for the encoder."""
    free_bytes: int
    """On the device, or in main memory, when the plan was made."""
    limit_bytes: int | None
    """What the user allows."""
    budget_bytes: int
    """Of these, what the model may take."""
    host_bytes: int
    """What the program and its ffmpeg processes take beside the model, computed."""
    host_budget_bytes: int
    """Of main memory, what the model may take beside a device with a memory of its own."""
    rungs: tuple[Rung, ...]
    """Every way to do a clip, quickest first."""
    chosen: int
    """Index of the first rung that fits; of the last if none does."""

    @property
    def rung(self) -> Rung:
        """The way chosen."""
        return self.rungs[self.chosen]

    @property
    def sentence(self) -> str:
        """The plan in a line, as a run tells it."""
        taken = gigabytes(self.rung.device_bytes)
        return f"{self.model} on {self.device}, {self.precision}: {self.rung.words}, about {taken}"

    @property
    def fits(self) -> bool:
        """Whether the way chosen is within the budgets."""
        return is_within(self.rung, self.budget_bytes, self.host_budget_bytes)

    def keeping(self, way: str | None) -> RunPlan:
        """This plan, with clips done as they were when an output was begun; itself where there is no such way.

        The way is seen in the pixels. On a CPU, equal bits are promised, so it is kept whatever
        memory is free; a GPU that has less now does with less.

        Args:
            way: In the words of a rung; None for an output that is new.
        """
        ways = [rung.words for rung in self.rungs]
        if way not in ways:
            return self
        kept = replace(self, chosen=ways.index(way))
        return kept if kept.fits or self.device == "cpu" else self


@dataclass(frozen=True, kw_only=True)
class Room:
    """What a process has for a model, as it was when it looked."""

    device: str
    """As torch names it."""
    precision: str
    """`bf16`, `fp16` or `fp32`."""
    lanes: int
    """Frames or tiles that nano makes at once, see `diffst.lanes`."""
    free_bytes: int
    """On the device, or in main memory."""
    host_free_bytes: int
    """In main memory."""


def find_room(job: UpscaleJob) -> Room:
    """What this process has now for a job's model.

    Raises:
        UserError: The device is not there.
    """
    device, precision = choose_place(job)
    return Room(
        device=device,
        precision=precision,
        lanes=_lanes(device),
        free_bytes=free_bytes(device),
        host_free_bytes=free_bytes("cpu"),
    )


def plan_run(
    job: UpscaleJob, info: VideoInfo, rules: ModelRules, room: Room | None = None
) -> RunPlan:
    """The plan of a job, from the memory that there is.

    Args:
        job: What to do.
        info: Its input.
        rules: The model's.
        room: What the process has that is to do it; None for this one, now.

    Raises:
        UsageError: The output would be larger than any codec takes.
        UserError: The device is not there.
    """
    room = room or find_room(job)
    size = job.output_size(info)
    in_bytes = info.width * info.height * 3 * info.bytes_per_sample
    out_bytes = size[0] * size[1] * 3 * info.bytes_per_sample
    clip_rules = choose_clip_rules(
        rules, frame_pixels=info.width * info.height, output_bytes=out_bytes
    )
    factor = job.output_rate(info) / info.frame_rate
    num_frames = estimate_frames(info, job)
    work = _workload(job, info, room, clip_rules, factor=factor, num_frames=num_frames)
    queues = (queue_frames(in_bytes), queue_frames(out_bytes))
    host = _host_bytes(work, queues)
    limit = None if job.vram_limit is None else round(job.vram_limit * GIGABYTE)
    budget = _budget(room.device, room.free_bytes, limit, host)
    host_budget = max(round(USED_SHARE * room.host_free_bytes - host), 0)
    rungs = tuple(LADDERS.get(kind_of(job.model), nano_ladder)(work))
    fitting = (i for i, rung in enumerate(rungs) if is_within(rung, budget, host_budget))
    return RunPlan(
        model=job.model,
        device=room.device,
        precision=room.precision,
        size=size,
        frame_rate=job.output_rate(info),
        num_frames=num_frames,
        num_clips=num_clips(clip_rules, factor, num_frames),
        clip_rules=clip_rules,
        work=work,
        queue_in=queues[0],
        queue_out=queues[1],
        free_bytes=room.free_bytes,
        limit_bytes=limit,
        budget_bytes=budget,
        host_bytes=host,
        host_budget_bytes=host_budget,
        rungs=rungs,
        chosen=next(fitting, len(rungs) - 1),
    )


def _workload(
    job: UpscaleJob,
    info: VideoInfo,
    room: Room,
    clip_rules: ClipRules,
    *,
    factor: Fraction,
    num_frames: int | None,
) -> Workload:
    """The sizes of one clip, and of one shot, where the output has `factor` times the frames a second."""
    return Workload(
        frame_size=(info.width, info.height),
        output_size=job.output_size(info),
        clip_keyframes=_clip_keyframes(clip_rules, factor, num_frames),
        clip_frames=_clip_frames(clip_rules, factor, num_frames),
        shot_keyframes=longest_stretch(clip_rules),
        shot_frames=_shot_frames(clip_rules, factor, num_frames),
        bytes_per_sample=info.bytes_per_sample,
        precision=room.precision,
        decoder=job.decoder,
        lanes=room.lanes,
        makes_new=factor != 1,
        can_offload=room.device.startswith("cuda"),
    )


def is_within(rung: Rung, device_bytes: int, host_bytes: int) -> bool:
    """Whether a rung takes no more than so much of the device and of main memory."""
    return rung.device_bytes <= device_bytes and rung.host_bytes <= host_bytes


def choose_place(job: UpscaleJob) -> tuple[str, str]:
    """The device and the precision that a job means, by their names.

    Raises:
        UserError: The device is not there.
    """
    load_libraries()  # here, since nothing before needs them
    from diffst.upscaler import PRECISIONS, choose_device, choose_precision

    try:
        device = choose_device(job.device)
    except ValueError as error:
        raise cannot_load(job.model, error) from error
    is_star = LADDERS.get(kind_of(job.model)) is star_ladder
    if is_star and job.precision == "auto" and device.type == "cuda":
        return str(device), STAR_GPU_PRECISION
    kind = choose_precision(job.precision, device)
    return str(device), next(name for name, known in PRECISIONS.items() if known == kind)


def _lanes(device: str) -> int:
    import torch

    from diffst.lanes import num_lanes

    return num_lanes(torch.device(device))


def kind_of(model: str) -> str:
    """The model in `LADDERS` whose laws a model follows; its own name where there is none, as for nano."""
    held = None if model in LADDERS else held_class(Path(model))
    if held not in PIPELINES:  # a damaged folder is told when it is loaded
        return model
    size = sum(path.stat().st_size for path in Path(model).rglob("*.safetensors"))
    return PIPELINES[held] if size >= LARGE_BYTES else model


def cannot_load(model: str, reason: object) -> UserError:
    """What a user is told when a model cannot be had."""
    return UserError(
        f"cannot load the model `{model}`: {reason}",
        hint="`diffst models list` names the models, `diffst doctor` the devices",
    )


def _budget(device: str, free: int, limit: int | None, host_bytes: int) -> int:
    """What a model may take: of a GPU's memory, or of main memory, which it shares with the rest."""
    usable = USED_SHARE * min(free, limit if limit is not None else free)
    kept = DEVICE_RESERVE_BYTES if device.startswith("cuda") else host_bytes
    return max(round(usable - kept), 0)


def _host_bytes(work: Workload, queues: tuple[int, int]) -> int:
    """Main memory beside the model: the program, frames that wait or are held, ffmpeg's own frames."""
    frame, output = (
        pixels * 3 * work.bytes_per_sample for pixels in (work.frame_pixels, work.output_pixels)
    )
    waiting = queues[0] * frame + queues[1] * output + 2 * work.clip_keyframes * frame
    coded = DECODER_FRAMES * work.frame_pixels + ENCODER_FRAMES * work.output_pixels
    coding = CODER_BYTES + coded * CODER_SAMPLES * work.bytes_per_sample
    return round(PROCESS_BYTES + waiting + coding)


def _clip_keyframes(rules: ClipRules, factor: Fraction, num_frames: int | None) -> int:
    """Most input frames of one clip, context included."""
    most = rules.clip_keyframes + 2 * rules.context_keyframes
    return most if num_frames is None else max(1, min(most, math.ceil(num_frames / factor)))


def _clip_frames(rules: ClipRules, factor: Fraction, num_frames: int | None) -> int:
    """Most output frames of one clip."""
    most = min(math.ceil(rules.clip_keyframes * factor), rules.max_moments)
    return max(1, most if num_frames is None else min(most, num_frames))


def longest_stretch(rules: ClipRules) -> int:
    """Most keyframes that are made as one shot: of a segment, which ends with a whole clip."""
    return rules.segment_keyframes + rules.clip_keyframes


def _shot_frames(rules: ClipRules, factor: Fraction, num_frames: int | None) -> int:
    """Most output frames of them."""
    most = math.ceil(longest_stretch(rules) * factor)
    return most if num_frames is None else min(most, max(num_frames, 1))


def num_clips(rules: ClipRules, factor: Fraction, num_frames: int | None) -> int | None:
    """About how many clips there are in a video without cuts."""
    if num_frames is None:
        return None
    frames = _clip_frames(rules, factor, None)
    shared = min(round(rules.overlap_keyframes * factor), frames // 2)
    return max(1, math.ceil((num_frames - shared) / (frames - shared)))


def choose_clip_rules(rules: ModelRules, *, frame_pixels: int, output_bytes: int) -> ClipRules:
    """How long clips are: as the model likes them, but no longer than memory allows.

    Args:
        rules: The model's.
        frame_pixels: Of one keyframe.
        output_bytes: Of one output frame.
    """
    most = max(2, MAX_CLIP_BYTES // output_bytes)
    # Where clips fade into each other, a segment inside a shot makes one twice, so segments stay long.
    fades = rules.overlap_keyframes > 0
    segment = MAX_KEYFRAMES if fades else max(1, MAX_SEGMENT_PIXELS // frame_pixels)
    return ClipRules(
        clip_keyframes=min(rules.clip_keyframes, max(2, MAX_CLIP_PIXELS // frame_pixels)),
        overlap_keyframes=rules.overlap_keyframes,
        context_keyframes=rules.context_keyframes,
        max_moments=min(rules.max_frames or most, most),
        segment_keyframes=min(segment, MAX_KEYFRAMES),
    )


def queue_frames(frame_bytes: int) -> int:
    """How many frames may wait between two threads."""
    return min(max(QUEUE_BYTES // frame_bytes, 2), MAX_QUEUE_FRAMES)


def estimate_frames(info: VideoInfo, job: UpscaleJob) -> int | None:
    """About how many frames the output has, of any part at least one; None when the file does not tell its length."""
    length = info.duration_seconds
    if length is None:
        return None
    length = max(length - (job.start or 0), Fraction(0))
    if job.duration is not None:
        length = min(length, job.duration)
    elif job.start is None and job.fps is None and info.num_frames is not None:
        return round(info.num_frames * job.rate_factor)
    return max(round(length * job.output_rate(info)), 1 if length else 0)
