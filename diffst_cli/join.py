"""Pieces become one video without being encoded again: a list that ffmpeg reads as if it were one file."""

from __future__ import annotations

import os
import shutil
from array import array
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from diffst_cli.errors import UserError
from diffst_cli.frame_pipe import WORK_PATTERN
from diffst_cli.probe_file import open_container

LIST_HEADER = "ffconcat version 1.0"
MICROSECONDS = 1_000_000  # in a second; the list's unit, finer than any tick that pieces count in


def list_pieces(pieces: Sequence[tuple[Path, Fraction]], path: Path) -> array[float]:
    """Write the list of the pieces to `path`, and give the time of each frame of the whole.

    Args:
        pieces: Each file, in the list's folder, and the time of its first frame in the whole,
            seconds, rising from 0. Their names are ours: no character of them needs a quote.
        path: File to write.

    Returns:
        Seconds, rising, from 0.

    Raises:
        UserError: The pieces were not encoded alike.
    """
    times = array("d")
    lines = [LIST_HEADER]
    first_setup: bytes | None = None
    for number, (piece, first_time) in enumerate(pieces):
        shown, setup = _read_piece(piece)
        if number > 0 and setup != first_setup:
            raise UserError("the finished pieces were not encoded alike", hint="add `--restart`")
        first_setup = setup
        times.extend(float(first_time + time) for time in shown)
        lines.append(f"file {piece.name}")
        if number + 1 < len(pieces):
            lasts = _microseconds(pieces[number + 1][1]) - _microseconds(first_time)
            lines.append(f"duration {lasts}us")
    path.write_text("\n".join((*lines, "")), encoding="utf-8")
    return times


def _microseconds(time: Fraction) -> int:
    return round(time * MICROSECONDS)


def _read_piece(path: Path) -> tuple[list[Fraction], bytes | None]:
    """When each frame is shown, in the piece's own time, ascending; and the decoder's setup data."""
    with open_container(path) as reader:
        (stream,) = reader.streams.video
        assert stream.time_base is not None
        ticks = sorted(packet.pts for packet in reader.demux(stream) if packet.pts is not None)
        return [tick * stream.time_base for tick in ticks], stream.codec_context.extradata


def join_pictures(folders: Sequence[Path], output: Path) -> int:
    """Gather the pictures of all pieces in the folder `output`, numbered through; how many there are.

    They stay where they are too, as links to the same file where the file system has such.
    """
    output.mkdir()
    number = 0
    for folder in folders:
        for picture in sorted(folder.iterdir()):
            number += 1
            _link(picture, output / (WORK_PATTERN % number))
    return number


def _link(existing: Path, name: Path) -> None:
    try:
        os.link(existing, name)
    except OSError:  # no hard links here
        shutil.copyfile(existing, name)
