"""When a file's pictures are shown: its rate, start, length and number of frames, of headers and first packets."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from diffst_cli.boxes import track_end
from diffst_cli.packet_scan import Scan

RATE_TOLERANCE = 0.002  # between a header's frame rate and the measured one
HALF_MICROSECOND = Fraction(1, 2_000_000)  # what libav's rounding of a file's start changes at most
FALLBACK_RATE = Fraction(25)  # for a raw stream that says nothing, as FFmpeg does


def last_as_shown(path: Path, container: InputContainer, stream: VideoStream, scan: Scan) -> Scan:
    """The scan, its last duration no longer than the track: an MP4's packet lasts until the next is decoded."""
    if scan.in_order or not scan.times or not container.format.name.startswith("mov"):
        return scan
    end = track_end(path, stream.id)
    if end is None:
        return scan
    shown = max(end - scan.times[-1], Fraction(0))
    return replace(scan, last_duration=min(scan.last_duration, shown))


def find_frame_rate(
    container: InputContainer, stream: VideoStream, steps: list[Fraction]
) -> Fraction:
    """The header's rate that the packets bear out, else the measured mean."""
    stated = [rate for rate in (stream.guessed_rate, stream.average_rate, stream.base_rate) if rate]
    span = sum(steps, Fraction(0))
    if span == 0:
        return stated[0] if stated else FALLBACK_RATE
    measured = len(steps) / span
    counted = stream.average_rate
    # AVI counts frames, and leaves out those that repeat; one that leaves out most has a clock, not a rate.
    if container.format.name == "avi" and counted and measured < counted < 2 * measured:
        return counted
    close = [rate for rate in stated if math.isclose(rate, measured, rel_tol=RATE_TOLERANCE)]
    return close[0] if close else measured.limit_denominator(1001) or measured


def find_origin(container: InputContainer, video: VideoStream) -> Fraction:
    """Where the clock begins: libav's microseconds, undone by the start of the stream that they are from."""
    rounded = Fraction(container.start_time or 0, av.time_base)
    for stream in (video, *container.streams):
        if stream.start_time is not None and stream.time_base:
            exact: Fraction = stream.start_time * stream.time_base
            if abs(exact - rounded) <= HALF_MICROSECOND:
                return exact
    return rounded


def find_start(stream: VideoStream, scan: Scan) -> Fraction:
    """Time of the first picture on the file's clock, seconds."""
    if stream.start_time is not None and stream.time_base:
        return stream.start_time * stream.time_base
    return scan.times[0] if scan.times else Fraction(0)


def find_duration(
    container: InputContainer, stream: VideoStream, scan: Scan, start: Fraction
) -> Fraction | None:
    """What the header promises of this stream, else what the packets show, else the file's length.

    More packets than promised are believed: MPEG streams have no header, only FFmpeg's guess.
    """
    shown = Fraction(0)
    if scan.complete and scan.times:
        shown = scan.times[-1] + scan.last_duration - scan.times[0]
    if stream.duration and stream.time_base:
        return max(stream.duration * stream.time_base, shown)
    end = _clock_seconds(stream.metadata.get("DURATION", ""))  # Matroska: the end time of the track
    if end is not None and end > start:
        return end - start
    if shown:
        return shown
    if container.duration:
        file_start = Fraction(container.start_time or 0, av.time_base)
        return Fraction(container.duration, av.time_base) - max(start - file_start, Fraction(0))
    return None


def count_frames(
    container: InputContainer, stream: VideoStream, scan: Scan, start: Fraction, rate: Fraction
) -> int | None:
    """How many pictures there are, by headers where not all packets were seen; None where neither tells."""
    if scan.complete:
        return scan.num_packets
    if stream.frames:
        return stream.frames
    duration = find_duration(container, stream, scan, start)
    return None if duration is None else max(1, round(duration * rate))


def counts_stored(container: InputContainer, stream: VideoStream, scan: Scan) -> bool:
    """Whether an MXF lacks the order in which its pictures are shown, as ffmpeg writes H.264."""
    if container.format.name != "mxf" or not scan.in_order:
        return False
    # Of MPEG-2 this is said of whatever might have such frames.
    return stream.codec_context.name != "mpeg2video" and bool(stream.codec_context.has_b_frames)


def _clock_seconds(text: str) -> Fraction | None:
    """Seconds of a time written as `HH:MM:SS.fraction`; None when it is not one."""
    # As many digits as a true one has: converting crafted ones could take for ever.
    match = re.fullmatch(r"(\d{1,6}):(\d\d):(\d\d(?:\.\d{1,12})?)", text)
    return int(match[1]) * 3600 + int(match[2]) * 60 + Fraction(match[3]) if match else None
