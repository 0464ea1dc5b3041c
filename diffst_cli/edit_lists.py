"""What a MOV's or MP4's edit lists ask for that ffmpeg does not do: parts that play at another speed."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

NORMAL_SPEED = 1 << 16  # as an edit list has it: 16 bits before the point, 16 after
WAY = (b"moov", b"trak", b"edts", b"elst")  # the boxes that an edit list lies in, and its own
MOST_BOXES = 1000  # that are looked at in each box; a damaged file may have any number
MOST_EDITS = 1000


def find_unplayed(path: Path, container: str) -> Iterator[str]:
    """A sentence where edits change the speed, which no output keeps; `container` is FFmpeg's demuxer names."""
    if "mov" not in container.split(","):
        return
    with path.open("rb") as file:
        if any(_changes_speed(file, *place) for place in _boxes(file, 0, path.stat().st_size, WAY)):
            yield "that parts of it are played faster or slower, as its edit list says, is not kept"


def _boxes(
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
            yield from _boxes(file, content, stop, way[1:])
        elif kind == way[0]:
            yield content, stop
        begin = stop


def _changes_speed(file: BinaryIO, begin: int, end: int) -> bool:
    """Whether an edit list shows something at another speed; a speed of 0 is a fault, or a picture that is held."""
    file.seek(begin)
    head = file.read(8)
    if len(head) < 8:
        return False
    entry = struct.Struct(">Qqi" if head[0] == 1 else ">Iii")
    count = min(int.from_bytes(head[4:], "big"), MOST_EDITS, (end - begin - 8) // entry.size)
    data = file.read(count * entry.size)
    whole = data[: len(data) // entry.size * entry.size]
    return any(
        place >= 0 and speed not in (0, NORMAL_SPEED) and length > 0
        for length, place, speed in entry.iter_unpack(whole)
    )
