"""Pictures of any source made fit for a video that plays anywhere: 8-bit, BT.709, H.264 4:2:0 in MP4."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from diffst_cli.codecs import CODECS
from diffst_cli.colour import Colour
from diffst_cli.encoding import Encoding
from diffst_cli.frame_pipe import FramePipe
from diffst_cli.pixels import FULL, Image

Picture: TypeAlias = npt.NDArray[np.uint8]
"""(height, width, 3), R'G'B', full range."""

PIXEL_FORMAT = "yuv420p"
BUFFER_SECONDS = 1  # over which the limit of the bit rate holds
COLOUR = Colour(
    matrix="bt709", range="tv", primaries="bt709", transfer="bt709", chroma_location="left"
)


def eight_bits(image: Image) -> Picture:
    """The picture with 8 bits a channel, rounded from 16; unchanged when it has 8."""
    if image.dtype == np.uint16:
        image = cv2.convertScaleAbs(image, alpha=255 / FULL)
    return np.asarray(image, np.uint8)


def fit(picture: Picture, size: tuple[int, int]) -> Picture:
    """The picture at (width, height): lanczos when enlarged, area means when reduced."""
    height, width = picture.shape[:2]
    if (width, height) == size:
        return picture
    is_larger = size[0] * size[1] > width * height
    method = cv2.INTER_LANCZOS4 if is_larger else cv2.INTER_AREA
    return np.asarray(cv2.resize(picture, size, interpolation=method), np.uint8)


def open_playable(
    path: Path,
    *,
    size: tuple[int, int],
    frame_rate: Fraction,
    constant_rate: bool,
    crf: float,
    preset: str,
    max_bits_per_second: int | None = None,
) -> FramePipe:
    """A running encoder of such a video; see `FramePipe` for how frames are written.

    Args:
        path: The MP4 file to write.
        size: Width and height in pixels, even.
        frame_rate: Frames per second, nominal where the rate varies.
        constant_rate: Whether the frames are evenly spaced.
        crf: x264 rate factor.
        preset: x264's word for speed.
        max_bits_per_second: Lowers the quality where more would be needed; None for no limit.

    Raises:
        ValueError: A side is odd.
    """
    if size[0] % 2 or size[1] % 2:
        raise ValueError(f"4:2:0 video needs even sides, not {size[0]}x{size[1]}")
    codec = CODECS["h264"]
    options = {"c:v": codec.encoder, "crf": f"{crf:g}", "preset": preset, "movflags": "+faststart"}
    options["g"] = str(max(round(frame_rate), 1))  # a keyframe a second: jumps are quick
    if max_bits_per_second is not None:
        options["maxrate"] = str(max_bits_per_second)
        options["bufsize"] = str(BUFFER_SECONDS * max_bits_per_second)
    encoding = Encoding(
        codec=codec,
        pixel_format=PIXEL_FORMAT,
        bit_depth=8,
        size=size,
        sample_aspect=Fraction(1),
        colour=COLOUR,
        options=options,
        notes=(),
    )
    return FramePipe(path, encoding, frame_rate=frame_rate, constant_rate=constant_rate, deep=False)
