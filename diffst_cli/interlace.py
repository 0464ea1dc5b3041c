"""Whether a video is interlaced: what the file says, and when it may be wrong, what the pictures show."""

from __future__ import annotations

import re
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from diffst_cli.ffmpeg import PROTOCOLS, FfmpegProcess, file_argument

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

TOP_FIRST = (2, 5)  # FFmpeg's AVFieldOrder: fields shown top first, in either coding order
BOTTOM_FIRST = (3, 4)
INTERLACED_HEIGHTS = (480, 486, 576, 1080)  # stored lines of the formats that were ever interlaced
MAX_INTERLACED_RATE = 30  # frames a second
SAMPLED_FRAMES = 120
SAMPLE_TIMEOUT_SECONDS = 60
MIN_VOTES = 8  # interlaced frames among the sampled ones, else it is chance
DOMINANCE = 4  # interlaced over progressive frames, and one field order over the other


def find_field_order(
    path: Path, container: str, stream: VideoStream, frame: VideoFrame, rate: Fraction
) -> str:
    """`progressive`, `tff` or `bff`.

    A field order in the header is believed. A header that says progressive or nothing is checked on
    the pictures (ffmpeg's `idet`) only where interlaced video is usual, because it costs a second.
    """
    order = stream.codec_context.field_order
    if order in TOP_FIRST:
        return "tff"
    if order in BOTTOM_FIRST:
        return "bff"
    is_usual = frame.height in INTERLACED_HEIGHTS and rate <= MAX_INTERLACED_RATE
    if not (is_usual or frame.interlaced_frame):
        return "progressive"
    return vote(_count_fields(path, container, stream.index))


def _count_fields(path: Path, container: str, stream_index: int) -> str:
    """What ffmpeg's `idet` reports about the first frames."""
    arguments = [
        "-loglevel", "info", "-nostats", "-protocol_whitelist", PROTOCOLS, "-f", container.split(",")[0],
        "-i", file_argument(path), "-map", f"0:{stream_index}", "-frames:v", str(SAMPLED_FRAMES),
        "-vf", "idet", "-f", "null", "-",
    ]  # fmt: skip
    with FfmpegProcess(arguments) as process:
        try:
            process.wait(SAMPLE_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            return ""
        return "\n".join(process.lines)


def vote(report: str) -> str:
    """The field order that `idet`'s multi-frame counts show clearly; `progressive` otherwise."""
    match = re.search(
        r"Multi frame detection: TFF:\s*(\d+) BFF:\s*(\d+) Progressive:\s*(\d+)", report
    )
    if match is None:
        return "progressive"
    top, bottom, progressive = (int(count) for count in match.groups())
    winner, loser = max(top, bottom), min(top, bottom)
    if winner < MIN_VOTES or winner < DOMINANCE * max(loser, progressive):
        return "progressive"
    return "tff" if top > bottom else "bff"
