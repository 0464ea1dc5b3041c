"""New frames take detail from the finished keyframes on both sides.

A keyframe is seen by the codec as it is; a new frame only as it was warped at low resolution, and that blurs. So
once both neighbours are finished, what they show is brought along the same paths at full size, and
mixed in where it agrees. New frames then also match their neighbours, which is less flicker.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import cv2
import numpy as np
import torch
from torch import Tensor

from diffst.cfca import Aggregated, Instants
from diffst.flow import LUMA, box_mean

AGREEMENT = 0.03  # mean difference, of 1, at low resolution that makes a neighbour count 1/e
STRIP_PIXELS = 1280 * 120  # output pixels settled at once, so that all between stays in the cache
LONGEST_SIDE = 32766  # output pixels that OpenCV can look up
DEPTHS = {"uint8": cv2.CV_8U, "uint16": cv2.CV_16U, "float32": cv2.CV_32F}


def neighbours_of(clip: Aggregated) -> Tensor:
    """What a frame needs of its two neighbours, (I, 6, H, W) float32 at low resolution.

    Channels: the way to its place in the keyframe before (x, y) and in the one after, in low-resolution pixels, and the
    weights of both beside 1 for the frame itself, of all three together.
    """
    away = (clip.followed.float() - clip.frames.float().unsqueeze(1)).abs().mean(2)
    trust = torch.exp(-box_mean(away) / AGREEMENT)
    weights = trust / (1 + trust.sum(1, keepdim=True))
    return torch.cat((clip.paths.flatten(1, 2), weights), dim=1)


class Settling:
    """Settles the new frames of a clip as soon as the keyframe after them is finished.

    Args:
        made: (I, 3, height, width), float32, uint8 or uint16: the clip's frames, finished in order; changed in place.
        instants: Of each frame; those of neighbouring keyframes that were not asked for leave a new frame as it is.
    """

    def __init__(self, made: Tensor, instants: Instants) -> None:
        self._made = made
        self._instants = instants
        self._keyframes = {n: i for i, (n, alpha) in enumerate(instants) if alpha == 0}
        self._waiting: list[tuple[int, Tensor]] = []
        self._lights: dict[int, np.ndarray] = {}  # of the two keyframes used last

    def finished(self, start: int, neighbours: Tensor) -> None:
        """Frames from `start` on are made; `neighbours` is theirs, see `neighbours_of`."""
        for index, field in enumerate(neighbours, start):
            n, alpha = self._instants[index]
            if alpha > 0 and n in self._keyframes and n + 1 in self._keyframes:
                self._waiting.append((index, field))
        stop = start + len(neighbours)
        while self._waiting and self._keyframes[self._instants[self._waiting[0][0]][0] + 1] < stop:
            self._settle(*self._waiting.pop(0))

    def _settle(self, index: int, field: Tensor) -> None:
        n = self._instants[index][0]
        picture = self._made[index].cpu()  # the same memory, unless it is on a GPU
        if max(picture.shape) > LONGEST_SIDE:
            return
        known = self._lights
        self._lights = {k: known[k] if k in known else self._light_of(k) for k in (n, n + 1)}
        settle(picture.numpy(), list(self._lights.values()), field.permute(1, 2, 0).cpu().numpy())
        if self._made.device.type != "cpu":
            self._made[index] = picture

    def _light_of(self, keyframe: int) -> np.ndarray:
        return light_of(self._made[self._keyframes[keyframe]].cpu().numpy())


def light_of(picture: np.ndarray) -> np.ndarray:
    """How light the pixels of (3, height, width) are, in the same type, (height, width)."""
    red, green, blue = picture
    both = cv2.addWeighted(red, LUMA[0], green, LUMA[1], 0)
    light: np.ndarray = cv2.addWeighted(both, 1, blue, LUMA[2], 0)
    return light


def settle(frame: np.ndarray, lights: list[np.ndarray], field: np.ndarray) -> None:
    """Mix the light of what both neighbours show into a frame, in place; where they show the same, it stays.

    Detail is in the light; colours stay the frame's own, which takes half the time.

    Args:
        frame: (3, height, width) uint8, uint16 or float32 in [0, 1], RGB.
        lights: Of the finished keyframes before and after, see `light_of`.
        field: (H, W, 6), see `neighbours_of`.
    """
    height, width = frame.shape[1:]
    ratio = (width / field.shape[1], height / field.shape[0])
    moves = field * np.array([*ratio, *ratio, 1, 1], np.float32)
    own = light_of(frame)
    x = np.arange(width, dtype=np.float32)
    for low, strip in strips(field.shape[0], height, STRIP_PIXELS // width):
        grown = grow(moves, low, strip, width)
        y = np.arange(strip.start, strip.stop, dtype=np.float32)[:, None]
        total = np.zeros((len(y), width), np.float32)
        for number, light in enumerate(lights):
            places = grown[2 * number] + x, grown[2 * number + 1] + y
            maps = cv2.convertMaps(*places, cv2.CV_16SC2)
            seen = cv2.remap(light, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            change = cv2.subtract(seen, own[strip], dtype=cv2.CV_32F)
            cv2.accumulateProduct(change, grown[4 + number], total)
        depth = DEPTHS[frame.dtype.name]
        for channel in frame:
            channel[strip] = cv2.add(channel[strip], total, dtype=depth)
    if frame.dtype == np.float32:  # whole numbers stay in their range by themselves
        frame.clip(0, 1, out=frame)


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


def grow(field: np.ndarray, low: slice, strip: slice, width: int) -> list[np.ndarray]:
    """Some rows of a low-resolution field (H, W, 6) at full size, between its pixels bilinear; a plane per channel.

    Args:
        field: The whole field.
        low: Its rows.
        strip: What they become, as `strips` gives both.
        width: Of the output.
    """
    num_low, num = low.stop - low.start, strip.stop - strip.start
    step = num_low // math.gcd(num_low, num)  # fewest rows that become whole ones
    around = -(-2 // step) * step  # rows on each side, which the edge of a run looks at
    lines = field[np.clip(np.arange(low.start - around, low.stop + around), 0, len(field) - 1)]
    extra = around * num // num_low
    size = (width, num + 2 * extra)
    return [
        plane[extra : extra + num]
        for channels in (lines[..., :4], lines[..., 4:])
        for plane in cv2.split(cv2.resize(np.ascontiguousarray(channels), size))
    ]
