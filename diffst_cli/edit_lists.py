"""What a MOV's or MP4's edit lists ask for that ffmpeg does not do: parts that play at another speed."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from diffst_cli.boxes import find_boxes

NORMAL_SPEED = 1 << 16  # as an edit list has it: 16 bits before the point, 16 after
WAY = (b"moov", b"trak", b"edts", b"elst")  # the boxes that an edit list lies in, and its own
MOST_EDITS = 1000


def find_unplayed(path: Path, container: str) -> Iterator[str]:
    """A sentence where edits change the speed, which no output keeps; `container` is FFmpeg's demuxer names."""
    if "mov" not in container.split(","):
        return
    with path.open("rb") as file:
        if any(
            _changes_speed(file, *place) for place in find_boxes(file, 0, path.stat().st_size, WAY)
        ):
            yield "that parts of it are played faster or slower, as its edit list says, is not kept"


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
