"""What of a file's streams is heard and shown, and when, which packets alone do not say."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import av.error
from av.audio.stream import AudioStream

from diffst_cli.probe_file import open_container


def first_sounds(path: Path, wanted: Collection[int]) -> dict[int, float]:
    """Time of the first sample that a player gets of audio streams, by index, seconds.

    A stream of which nothing can be decoded has no entry. Read only so far as is needed to know.

    Args:
        path: The file.
        wanted: Indexes of the streams.
    """
    found: dict[int, float] = {}
    with open_container(path) as container:
        streams = tuple(
            each
            for each in container.streams.audio
            if each.codec_context is not None and each.index in wanted
        )
        with suppress(av.error.FFmpegError, IndexError):  # damage while demuxing
            for packet in container.demux(streams) if streams else ():
                index = packet.stream.index
                time = None if index in found else _first_time(packet)
                if time is not None:
                    found[index] = time
                    if len(found) == len(streams):
                        break
    return found


def _first_time(packet: av.Packet[AudioStream]) -> float | None:
    """When the first sample in a packet is heard, if one is."""
    with suppress(av.error.FFmpegError):  # a damaged one; a later packet may decode
        for frame in packet.decode():
            if frame.pts is not None and frame.time_base is not None:
                return float(frame.pts * frame.time_base)
    return None


def hidden_seconds(path: Path, index: int) -> Fraction:
    """How much at the beginning of an audio stream its file tells players to skip.

    The usual is an encoder's padding, some hundredths of a second; an edit list hides more.
    """
    with open_container(path) as container, suppress(av.error.FFmpegError, IndexError):
        stream = container.streams[index]
        if stream.start_time is None or stream.time_base is None:
            return Fraction(0)
        for packet in container.demux(stream):
            if packet.size and packet.pts is not None:
                return max((stream.start_time - packet.pts) * stream.time_base, Fraction(0))
    return Fraction(0)


def is_shown(path: Path, index: int, begin: float, end: float) -> bool:
    """Whether anything of a stream of subtitles is shown between two times, seconds."""
    with open_container(path) as container, suppress(av.error.FFmpegError, IndexError):
        for packet in container.demux(container.streams[index]):
            if packet.size and packet.pts is not None and packet.time_base is not None:
                time = float(packet.pts * packet.time_base)
                lasts = float((packet.duration or 0) * packet.time_base)
                if time < end and (time >= begin or time + lasts > begin):
                    return True
    return False
