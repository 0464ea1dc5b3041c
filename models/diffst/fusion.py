"""New frames out of finished keyframes: CFCA's ways, walked at full size.

A keyframe is seen by the codec as it is; a frame between two only as it was warped at low
resolution, and that blurs. So the codec makes keyframes alone, and CFCA, which says where each
place of a new frame is seen and which of these findings to believe, mixes the finished ones. That
is as good as the codec's own picture of the new frame, costs a fraction, and neighbours match.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from diffst.cfca import Ways
from diffst.flow import warp
from diffst.pixels import as_float, in_range
from diffst.tiling import Tile

STRIP_PIXELS = 1280 * 180  # output pixels mixed at once, which bounds memory
MOST_PIXELS = 32766  # of a side, which OpenCV counts in 16 bits
# Enlarged pictures are smooth from pixel to pixel; nearer to the input's size only a sharp kernel keeps their detail.
SMOOTH_FROM = 3.0


def picture_to_look_up(picture: Tensor) -> Tensor:
    """A finished keyframe (3, height, width) as `fuse_into` wants it.

    On a CPU pixel by pixel, (height, width, 4). The fourth is of full scale: what it comes to in a mix is by what to
    divide the others. OpenCV looks up four in half the time of three, if pictures are enlarged.
    """
    if picture.device.type != "cpu":
        return picture
    planes = [plane.numpy() for plane in picture]
    full = np.full_like(planes[0], full_scale(planes[0].dtype))
    return torch.from_numpy(cv2.merge([*planes, full]))


def picture_made(picture: Tensor) -> Tensor:
    """The keyframe (3, height, width) again."""
    return picture.permute(2, 0, 1)[:3] if picture.device.type == "cpu" else picture


def full_scale(kind: np.dtype) -> float:
    """What stands for 1 in pictures of a type."""
    return 1 if kind.kind == "f" else int(np.iinfo(kind).max)


def fuse_into(frame: Tensor, pictures: Sequence[Tensor], ways: Ways, tile: Tile) -> None:
    """Mix finished keyframes into a tile of a new frame.

    Args:
        frame: (3, height, width) float32, uint8 or uint16; what the tile owns of it is written.
        pictures: For each way its keyframe, as `picture_to_look_up` gives it.
        ways: Of the one frame, over the tile's window.
        tile: Where it is.
    """
    place = (tile.rows.made, tile.columns.made)
    if frame.device.type == "cpu":
        planes = torch.cat((ways.paths[0].transpose(0, 1).flatten(0, 1), ways.shares[0])).numpy()
        looked_up = [picture.numpy() for picture in pictures]
        fuse_tile(frame.numpy(), looked_up, planes, place, tile.owned)
    else:
        fuse_tile_in_torch(frame, pictures, ways, place, tile.owned)


def fuse_tile_in_torch(
    frame: Tensor,
    pictures: Sequence[Tensor],
    ways: Ways,
    place: tuple[slice, slice],
    given: tuple[slice, slice],
) -> None:
    """See `fuse_tile`; pictures are (3, height, width), on any device."""
    (rows, columns), (top, left) = given, (side.start for side in place)
    mixed = fuse(pictures, ways.paths[0], ways.shares[0], place)
    owned = mixed[:, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    frame[:, rows, columns] = in_range(owned, frame.dtype)


def fuse(
    pictures: Sequence[Tensor],
    paths: Tensor,
    shares: Tensor,
    place: tuple[slice, slice] | None = None,
) -> Tensor:
    """Mix finished keyframes into a frame between them, on any device, with gradients.

    Args:
        pictures: For each way its keyframe, (3, height, width), float32 in [0, 1], uint8 or uint16.
        paths: (C, 2, h, w) float32 in low-resolution pixels, see `Ways`.
        shares: (C, h, w) float32, summing to 1.
        place: Output rows and columns that the ways are for; None for the whole picture.

    Returns:
        (3, rows, columns) float32, about [0, 1], not clamped.
    """
    rows, columns = place or (slice(0, pictures[0].shape[1]), slice(0, pictures[0].shape[2]))
    size = (rows.stop - rows.start, columns.stop - columns.start)
    ratio = paths.new_tensor([size[1] / paths.shape[-1], size[0] / paths.shape[-2]])
    corner = paths.new_tensor([columns.start, rows.start])
    grown = F.interpolate(paths, size=size, mode="bilinear") * ratio.view(2, 1, 1)
    seen = warp(
        torch.stack([as_float(picture) for picture in pictures]),
        grown + corner.view(2, 1, 1),
        mode=kernel_of(size[0] / paths.shape[-2]),
    )
    return (F.interpolate(shares.unsqueeze(1), size=size, mode="bilinear") * seen).sum(0)


def fuse_tile(
    made: np.ndarray,
    pictures: Sequence[np.ndarray],
    ways: np.ndarray,
    place: tuple[slice, slice],
    given: tuple[slice, slice],
) -> None:
    """The same on a CPU, a strip at a time, into a part of the frame.

    Shares are rounded to what the pictures' type can tell, 1/255 or 1/65535, and divided by what they then sum to.

    Args:
        made: (3, height, width) uint8, uint16 or float32 in [0, 1]; its part `given` is written.
        pictures: For each way its keyframe, (height, width, 4) of the same type, see `picture_to_look_up`.
        ways: (18, h, w) float32: paths x, paths y, shares, six of each, as `fuse` takes them, of a tile.
        place: Output rows and columns that the tile covers.
        given: Those of them to be written.
    """
    low_height = ways.shape[1]
    rows, columns = place
    height, width = rows.stop - rows.start, columns.stop - columns.start
    smooth = kernel_of(height / low_height) == "bilinear"
    kernel = cv2.INTER_LINEAR if smooth else cv2.INTER_CUBIC
    paths_x, paths_y, shares = in_output_pixels(ways, (height, width), made.dtype)
    owned_columns = slice(given[1].start - columns.start, given[1].stop - columns.start)
    x = np.arange(columns.start, columns.stop, dtype=np.float32)
    for low, strip in strips(low_height, height, max(1, STRIP_PIXELS // width)):
        first = rows.start + strip.start
        top, stop = max(first, given[0].start), min(rows.start + strip.stop, given[0].stop)
        if top >= stop:
            continue
        num = strip.stop - strip.start
        y = np.arange(first, first + num, dtype=np.float32)[:, None]
        total = np.zeros((num, width, 4), np.float32)
        for path_x, path_y, share, picture in zip(paths_x, paths_y, shares, pictures, strict=True):
            place_x, place_y = (grow(path, low, strip, width) for path in (path_x, path_y))
            place_x += x
            place_y += y
            count = grow(share, low, strip, width).astype(made.dtype)
            seen = look_up(picture, (place_x, place_y), kernel)
            cv2.accumulateProduct(seen, cv2.merge([count] * 4), total)
        *colours, weight = cv2.split(total[top - first : stop - first, owned_columns])
        for plane, colour in zip(made, colours, strict=True):
            plane[top:stop, given[1]] = divided(colour, weight, made.dtype)


def in_output_pixels(
    ways: np.ndarray, size: tuple[int, int], kind: np.dtype
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Paths x and y in pixels of the output, and shares as codes of a type, half of one added: cutting off rounds."""
    ratio_y, ratio_x = (
        np.float32(side / low) for side, low in zip(size, ways.shape[1:], strict=True)
    )
    half = np.float32(0 if kind.kind == "f" else 0.5)
    num = len(ways) // 3
    paths_x, paths_y, shares = ways[:num], ways[num : 2 * num], ways[2 * num :]
    return ratio_x * paths_x, ratio_y * paths_y, np.float32(full_scale(kind)) * shares + half


def look_up(picture: np.ndarray, places: tuple[np.ndarray, np.ndarray], kernel: int) -> np.ndarray:
    """What a picture (H, W, 3) shows at some places, x and y in pixels; beyond its border the border."""
    x, y = places
    if max(picture.shape) > MOST_PIXELS:  # from the first pixel on that is looked at
        left, top = (
            int(min(max(least.min() - 2, 0), side - 1))
            for least, side in ((x, picture.shape[1]), (y, picture.shape[0]))
        )
        picture, x, y = picture[top:, left:][:MOST_PIXELS, :MOST_PIXELS], x - left, y - top
    seen: np.ndarray = cv2.remap(picture, x, y, kernel, borderMode=cv2.BORDER_REPLICATE)
    return seen


def divided(mixed: np.ndarray, weight: np.ndarray, kind: np.dtype) -> np.ndarray:
    """Mixed float32 codes by their weights, as the nearest ones of a type, or within [0, 1]."""
    code = {"u1": cv2.CV_8U, "u2": cv2.CV_16U, "f4": cv2.CV_32F}[kind.str[1:]]
    quotient: np.ndarray = cv2.divide(mixed, weight, scale=full_scale(kind), dtype=code)
    return quotient.clip(0, 1) if kind.kind == "f" else quotient


def kernel_of(ratio: float) -> str:
    """With which kernel pictures are looked up that are so many times as large as what was seen."""
    return "bilinear" if ratio >= SMOOTH_FROM else "bicubic"


def strips(height: int, out_height: int, rows: int) -> Iterator[tuple[slice, slice]]:
    """Runs of low-resolution rows and the output rows that they become, whole ones in both.

    Args:
        height: Low-resolution rows.
        out_height: Output rows.
        rows: Output rows in a run, about; more where only so many come out whole.
    """
    step = height // math.gcd(height, out_height)
    step *= max(1, rows * height // (out_height * step))
    for top in range(0, height, step):
        end = min(top + step, height)
        yield slice(top, end), slice(top * out_height // height, end * out_height // height)


def grow(plane: np.ndarray, low: slice, strip: slice, width: int) -> np.ndarray:
    """Some rows of a low-resolution plane (H, W) at full size, between its pixels bilinear.

    Args:
        plane: All of it.
        low: Its rows.
        strip: What they become, as `strips` gives both.
        width: Of the output.
    """
    num_low, num = low.stop - low.start, strip.stop - strip.start
    step = num_low // math.gcd(num_low, num)  # fewest rows that become whole ones
    around = -(-2 // step) * step  # rows on each side, which the edge of a run looks at
    lines = np.clip(np.arange(low.start - around, low.stop + around), 0, len(plane) - 1)
    extra = around * num // num_low
    grown: np.ndarray = cv2.resize(plane[lines], (width, num + 2 * extra))
    return grown[extra : extra + num]
