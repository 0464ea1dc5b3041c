"""The boxes of an MP4 or MOV (ISO/IEC 14496-12), and what they say of a track that libav does not give."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

MOST_BOXES = 1000  # that are looked at in each box; a damaged file may have any number
HEADER_BYTES = 40  # of those read here, at most


def track_end(path: Path, track: int) -> Fraction | None:
    """When a track ends on the movie's clock, seconds: what players go by; None where the file does not say.

    Its samples tell less: each only says how long it is until the next is decoded, the last shown too.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        movies = find_boxes(file, 0, size, (b"moov", b"mvhd"))
        scale = next((_clock(file, place)[0] for place in movies), 0)
        for place in find_boxes(file, 0, size, (b"moov", b"trak", b"tkhd")):
            number, lasts = _clock(file, place, skipped=4)
            if number == track and scale and lasts:
                return Fraction(lasts, scale)
    return None


def find_boxes(
    file: BinaryIO, begin: int, end: int, way: tuple[bytes, ...]
) -> Iterator[tuple[int, int]]:
    """The begin and end of what is in boxes of the last kind of `way`, each of which lies in one of the kind before."""
    for _ in range(MOST_BOXES):
        file.seek(begin)
        head = file.read(16)
        if begin + 8 > end or len(head) < 8:
            return
        size, kind = struct.unpack_from(">I4s", head)
        content = begin + 8
        if size == 1 and len(head) == 16:
            (size,) = struct.unpack_from(">Q", head, 8)
            content += 8
        stop = end if size == 0 else min(begin + size, end)
        if stop < content:
            return
        if kind == way[0] and len(way) > 1:
            yield from find_boxes(file, content, stop, way[1:])
        elif kind == way[0]:
            yield content, stop
        begin = stop


def _clock(file: BinaryIO, body: tuple[int, int], *, skipped: int = 0) -> tuple[int, int]:
    """The number after the two dates of a header, and the duration `skipped` bytes later; 0 where it is unknown."""
    file.seek(body[0])
    content = file.read(min(body[1] - body[0], HEADER_BYTES))
    is_long = content[:1] == b"\1"
    layout = f">{'20x' if is_long else '12x'}I{skipped}x{'Q' if is_long else 'I'}"
    if len(content) < struct.calcsize(layout):
        return 0, 0
    number, lasts = struct.unpack_from(layout, content)
    unknown = 2**64 - 1 if is_long else 2**32 - 1
    return number, 0 if lasts == unknown else lasts
