"""What the first packets of a video stream tell: when frames are shown, and the first picture."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise

import av
import av.error
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

SCANNED_PACKETS = 1000  # video packets read to judge the spacing of frames; a whole short file
MAX_DECODED_PACKETS = 300  # without one picture; after that nothing will come
HELD_STEPS, HELD_SECONDS = 3, Fraction(1, 2)  # from which on a last picture is held, not rounded
MAX_REORDERED = 16  # frames that may be stored after one shown later; H.264's limit


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What reading the first packets of a video stream told."""

    frame: VideoFrame | None
    """The first decoded frame."""
    times: tuple[Fraction, ...]
    """Different presentation times in order, seconds; none for a raw stream without timestamps."""
    num_packets: int
    in_order: bool = True
    """Whether the packets come in the order of their presentation times."""
    num_unstamped: int
    """Packets before the first one that says when it is shown."""
    last_duration: Fraction
    """Of the last packet in presentation order, seconds; 0 when unstated."""
    longest_duration: Fraction
    """Of any packet, seconds; MP4 gives the last picture's to the packet that is decoded last."""
    complete: bool
    """Whether the end of the file was reached."""


def scan_packets(container: InputContainer, stream: VideoStream) -> Scan:
    """Read up to `SCANNED_PACKETS` packets, decoding only until the first frame appears."""
    frame: VideoFrame | None = None
    durations: dict[
        int, int
    ] = {}  # by timestamp; one that comes twice is a damaged or joined clock
    num_packets = num_unstamped = 0
    in_order = complete = True
    try:
        for packet in container.demux(stream):
            if frame is None and num_packets < MAX_DECODED_PACKETS:
                frame = _first_frame(stream, packet)
            if packet.size == 0 or packet.is_discard:
                continue
            num_packets += 1
            stamp = packet.pts if packet.pts is not None else packet.dts
            if stamp is None:
                num_unstamped += not durations
            else:
                in_order = in_order and stamp > next(reversed(durations), stamp - 1)
                durations[stamp] = packet.duration or 0
            if num_packets >= SCANNED_PACKETS:
                complete = False
                break
    except (av.error.FFmpegError, IndexError):
        # Damage while demuxing: what was seen so far still counts. PyAV's IndexError is for a stream
        # that a damaged FLV file announced under one number and continues under another.
        complete = False
    stamps = sorted(durations)
    if not complete or num_packets < stream.frames:  # the last ones lack frames stored after them
        stamps = stamps[:-MAX_REORDERED] or stamps
    time_base = stream.time_base or Fraction(0)
    return Scan(
        frame=frame,
        times=tuple(stamp * time_base for stamp in stamps),
        num_packets=num_packets,
        in_order=in_order,
        num_unstamped=num_unstamped,
        last_duration=durations[stamps[-1]] * time_base if stamps else Fraction(0),
        longest_duration=max(durations.values(), default=0) * time_base,
        complete=complete,
    )


def decode_first(container: InputContainer, stream: VideoStream) -> VideoFrame | None:
    """The first picture of a stream that can be decoded, as `scan_packets` finds it; None without one."""
    with suppress(av.error.FFmpegError, IndexError):
        for packet in islice(container.demux(stream), MAX_DECODED_PACKETS):
            frame = _first_frame(stream, packet)
            if frame is not None:
                return frame
    return None


def _first_frame(stream: VideoStream, packet: av.Packet[VideoStream]) -> VideoFrame | None:
    try:
        frames = stream.decode(packet)
    except av.error.FFmpegError:  # a damaged start; a later packet may decode
        return None
    return frames[0] if frames else None


def true_steps(times: tuple[Fraction, ...], longest: int) -> list[Fraction]:
    """Seconds between `times` (ascending), without those over `longest`, where a clock was set."""
    steps = (after - before for before, after in pairwise(times))
    return [step for step in steps if step <= longest]


def is_uneven(steps: list[Fraction], time_base: Fraction) -> bool:
    """Whether steps between frames, seconds, differ by more than rounding to `time_base` makes."""
    return len(steps) > 1 and max(steps) - min(steps) > 2 * time_base


def holds_last(scan: Scan) -> bool:
    """Whether the last picture stays much longer than the others, as in many a GIF."""
    if not scan.complete or len(scan.times) < 2:
        return False
    step = (scan.times[-1] - scan.times[0]) / (len(scan.times) - 1)
    return scan.longest_duration > max(HELD_STEPS * step, HELD_SECONDS)
