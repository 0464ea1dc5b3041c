"""Arrays of pixels on the host."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Image: TypeAlias = npt.NDArray[np.unsignedinteger[Any]]
"""(height, width, channels), uint8 or uint16, full range: 0 to 255, or 0 to 65535 from a source deeper than 8 bits."""

FULL = 65535


def composite(picture: Image) -> Image:
    """`picture` without its alpha channel, over black; unchanged when it has none."""
    if picture.shape[2] == 3:
        return picture
    full = np.iinfo(picture.dtype).max
    colour, alpha = picture[:, :, :3].astype(np.uint32), picture[:, :, 3:].astype(np.uint32)
    blended: Image = ((colour * alpha + full // 2) // full).astype(picture.dtype)
    return blended


def is_transparent(picture: Image) -> bool:
    """Whether any pixel of `picture` is less than opaque, in 8 bits: ffmpeg rounds a deep 1 to a little less."""
    full = np.iinfo(picture.dtype).max
    return picture.shape[2] == 4 and bool(picture[:, :, 3].min() < full - full // 256)


def stretch_white(picture: Image, white: int) -> Image:
    """uint16 `picture` with `white` moved to 65535 and everything else in proportion, rounded."""
    return _rescale(np.minimum(picture, np.uint16(white)), white, FULL)


def stretch_grey(picture: Image) -> Image:
    """`picture` of limited range, 16 to 235 (x 256 if uint16), to full range: what lies outside is cut off, rounded."""
    unit = 1 if picture.dtype.itemsize == 1 else 256
    black, white, full = 16 * unit, 235 * unit, np.iinfo(picture.dtype).max
    scaled = (np.clip(picture, black, white) - np.float32(black)) * np.float32(
        full / (white - black)
    )
    stretched: Image = (scaled + np.float32(0.5)).astype(picture.dtype)
    return stretched


def shrink_white(picture: Image, white: int) -> Image:
    """uint16 `picture` with 65535 moved to `white` and everything else in proportion, rounded."""
    return _rescale(picture, FULL, white)


def _rescale(picture: Image, old: int, new: int) -> Image:
    if old == new:
        return picture
    scaled = picture * np.float32(new / old)  # 24 bits hold 16 with room to round
    scaled += np.float32(0.5)
    rounded: Image = scaled.astype(np.uint16)
    return rounded


def narrowed(grey: npt.NDArray[np.uint8], width: int) -> npt.NDArray[np.uint8]:
    """A picture (H, W) at most `width` wide, by area means."""
    import cv2

    if grey.shape[1] <= width:
        return grey
    height = max(round(grey.shape[0] * width / grey.shape[1]), 1)
    return np.asarray(cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
