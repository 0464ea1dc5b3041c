"""What an MP4 or MOV says of a track that libav does not give (ISO/IEC 14496-12)."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

HEADER_BYTES = 40  # of those read here, at most


def track_end(path: Path, track: int) -> Fraction | None:
    """When a track ends on the movie's clock, seconds: what players go by; None where the file does not say.

    Its samples tell less: each only says how long it is until the next is decoded, the last shown too.
    """
    with path.open("rb") as file:
        movie = next((body for kind, body in _boxes(file) if kind == b"moov"), None)
        if movie is None:
            return None
        scale, ticks = 0, 0
        for kind, body in _boxes(file, *movie):
            if kind == b"mvhd":
                scale, _ = _clock(file, body)
            elif kind == b"trak":
                heads = (inner for name, inner in _boxes(file, *body) if name == b"tkhd")
                for head in heads:
                    number, lasts = _clock(file, head, skipped=4)
                    ticks = lasts if number == track else ticks
    return Fraction(ticks, scale) if scale and ticks else None


def _boxes(
    file: BinaryIO, begin: int = 0, end: int | None = None
) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """Kind of each box between two places of a file, and where its content begins and ends."""
    if end is None:
        end = file.seek(0, io.SEEK_END)
    while begin + 8 <= end:
        file.seek(begin)
        size, kind = struct.unpack(">I4s", file.read(8))
        head = 8
        if size == 1:
            size, head = int.from_bytes(file.read(8), "big"), 16
        stop = end if size == 0 else begin + size
        if not begin + head <= stop <= end:  # damaged
            return
        yield kind, (begin + head, stop)
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
