"""Pictures decoded one after another, for sequences and folders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from diffst_cli.colour import Colour, is_limited_grey
from diffst_cli.errors import UserError
from diffst_cli.orientation import Orientation, read_display_matrix
from diffst_cli.pixels import Image, stretch_grey
from diffst_cli.probe import VideoInfo, resolved_colour
from diffst_cli.probe_images import bit_depth, decode_image, holds_alpha

MATRICES = {  # FFmpeg's matrix names to PyAV's numbers
    "smpte170m": Colorspace.ITU601,
    "bt470bg": Colorspace.ITU601,
    "bt709": Colorspace.ITU709,
}
# FFmpeg's numbers for bicubic, accurate rounding, full chroma out and in: PyAV has names for them
# only from version 18, which Python 3.10 does not get.
INTERPOLATION = 0x4 | 0x40000 | 0x2000 | 0x4000


def read_images(info: VideoInfo) -> Iterator[Image]:
    """The pictures of `info.images` in order, upright, (height, width, channels).

    Channels are R'G'B' or, of a picture with alpha, R'G'B'A; full range uint8, or uint16 for a deep source.

    Raises:
        UserError: A picture is unreadable, differs in size from the first, or is deeper where that one has 8 bits.
    """
    colour = resolved_colour(info)
    for path in info.images:
        frame = decode_image(path)
        orientation = read_display_matrix(frame)
        if orientation.turn_size(frame.width, frame.height) != (info.width, info.height):
            size = orientation.turn_size(frame.width, frame.height)
            raise UserError(
                f"`{path}` is {size[0]}x{size[1]}, but the first picture is {info.width}x{info.height}",
                hint="give pictures of one size",
            )
        if info.bytes_per_sample == 1 and bit_depth(frame) > 8:
            raise UserError(
                f"`{path}` has {bit_depth(frame)} bits, but the first picture has {info.bit_depth}",
                hint="give pictures of one depth; fewer bits than in the first lose nothing",
            )
        own = replace(info, has_alpha=holds_alpha(frame), bit_depth=bit_depth(frame))
        image = _to_rgb(frame, own.rgb_format, colour)
        if own.bytes_per_sample < info.bytes_per_sample:
            image = image.astype(np.uint16) * 257  # white stays white
        yield _turn(image, orientation)


def _to_rgb(frame: VideoFrame, pixel_format: str, colour: Colour) -> Image:
    reformatted = VideoReformatter().reformat(
        frame,
        format=pixel_format,
        src_colorspace=MATRICES.get(colour.matrix or ""),
        src_color_range=ColorRange.JPEG if colour.range == "pc" else ColorRange.MPEG,
        interpolation=INTERPOLATION,
    )
    image = cast("Image", reformatted.to_ndarray())
    if is_limited_grey(frame.format.name, colour):
        image[:, :, :3] = stretch_grey(image[:, :, :3])
    return image


def _turn(image: Image, orientation: Orientation) -> Image:
    mirrored = image[:, ::-1] if orientation.mirrored else image
    turned: Image = np.rot90(mirrored, k=-orientation.rotation // 90)
    return np.ascontiguousarray(turned)
