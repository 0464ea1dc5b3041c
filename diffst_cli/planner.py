"""What a run needs to know before it starts: clip length, queue length, frames to come, the end."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from diffst_cli.clips import ClipRules
from diffst_cli.job import UpscaleJob

if TYPE_CHECKING:
    from diffst.upscaler import ModelRules
    from diffst_cli.probe import VideoInfo

QUEUE_BYTES = 64 * 2**20  # of frames waiting between two threads
MAX_QUEUE_FRAMES = 16
MAX_CLIP_BYTES = 512 * 2**20  # of output frames in one clip
# Of a clip's keyframes, which take about 40 bytes a pixel with their motion.
MAX_CLIP_PIXELS = 16 * 1920 * 1080


def choose_clip_rules(rules: ModelRules, *, frame_pixels: int, output_bytes: int) -> ClipRules:
    """How long clips are: as the model likes them, but no longer than memory allows.

    Args:
        rules: The model's.
        frame_pixels: Of one keyframe.
        output_bytes: Of one output frame.
    """
    return ClipRules(
        clip_keyframes=min(rules.clip_keyframes, max(2, MAX_CLIP_PIXELS // frame_pixels)),
        overlap_keyframes=rules.overlap_keyframes,
        context_keyframes=rules.context_keyframes,
        max_moments=max(2, MAX_CLIP_BYTES // output_bytes),
    )


def queue_frames(frame_bytes: int) -> int:
    """How many frames may wait between two threads."""
    return min(max(QUEUE_BYTES // frame_bytes, 2), MAX_QUEUE_FRAMES)


def estimate_frames(info: VideoInfo, job: UpscaleJob) -> int | None:
    """About how many frames the output has; None when the file does not tell its length."""
    length = info.duration_seconds
    if length is None:
        return None
    length = max(length - (job.start or 0), Fraction(0))
    if job.duration is not None:
        length = min(length, job.duration)
    elif job.start is None and job.fps is None and info.num_frames is not None:
        return round(info.num_frames * job.rate_factor)
    return round(length * job.output_rate(info))


def end_of_last_frame(last_time: Fraction, info: VideoInfo, job: UpscaleJob) -> Fraction:
    """When the last frame read stops being shown, in seconds on the source's clock.

    At a constant rate, one frame later. At a variable rate the last picture may be held long, as in
    a GIF or a screen recording, so it lasts until the file's end; a file's longer audio only makes
    the picture stay as long as players would show it.
    """
    end = last_time + 1 / info.frame_rate
    if info.is_variable and info.duration_seconds is not None:
        end = max(end, info.start_seconds + info.duration_seconds)
    if job.duration is not None:
        limit = info.origin_seconds + (job.start or 0) + job.duration
        end = min(end, limit) if limit > last_time else end
    return end
