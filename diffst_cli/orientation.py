"""Which way up a stored picture is shown: the eight cases of a display matrix."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

from av.sidedata.sidedata import SideData, Type
from av.video.frame import VideoFrame

# Where the picture's right (a, b) and down (c, d) directions end up, x to the right and y down, for
# (mirrored, rotation clockwise). Source: FFmpeg, libavutil/display.h.
_CASES = {
    (1, 0, 0, 1): (False, 0),
    (0, 1, -1, 0): (False, 90),
    (-1, 0, 0, -1): (False, 180),
    (0, -1, 1, 0): (False, 270),
    (-1, 0, 0, 1): (True, 0),
    (0, -1, -1, 0): (True, 90),
    (1, 0, 0, -1): (True, 180),
    (0, 1, 1, 0): (True, 270),
}


@dataclass(frozen=True, kw_only=True)
class Orientation:
    """How to turn a stored picture upright: mirror left-right first, then rotate."""

    mirrored: bool
    rotation: int
    """0, 90, 180 or 270 degrees clockwise."""

    def turn_size(self, width: int, height: int) -> tuple[int, int]:
        """Size of a `width` x `height` picture once upright."""
        return (height, width) if self.rotation in (90, 270) else (width, height)

    def turn_aspect(self, aspect: Fraction) -> Fraction:
        """Sample aspect (width over height) once upright."""
        return 1 / aspect if self.rotation in (90, 270) else aspect


UPRIGHT = Orientation(mirrored=False, rotation=0)


def read_display_matrix(frame: VideoFrame) -> Orientation:
    """The orientation a decoded frame carries; upright when it carries none, or a slanted one."""
    try:
        side_data = cast("Mapping[Type, SideData]", frame.side_data)  # PyAV's stub says less
        data = side_data.get(Type.DISPLAYMATRIX)
    except ValueError:  # side data of a kind that PyAV does not know hides all of it
        turn = round(-frame.rotation / 90) * 90 % 360
        return Orientation(mirrored=False, rotation=turn)
    return UPRIGHT if data is None else orientation_of_matrix(struct.unpack("=9i", bytes(data)))


def orientation_of_matrix(matrix: tuple[int, ...]) -> Orientation:
    """The orientation of a display matrix (nine numbers, 16.16 fixed point, row by row)."""
    scale = max(abs(matrix[i]) for i in (0, 1, 3, 4))
    if scale == 0:
        return UPRIGHT
    a, b, c, d = (round(matrix[i] / scale) for i in (0, 1, 3, 4))
    mirrored, rotation = _CASES.get((a, b, c, d), (False, 0))
    return Orientation(mirrored=mirrored, rotation=rotation)
