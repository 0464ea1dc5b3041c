"""New frames take detail from the finished keyframes on both sides.

A keyframe is seen by the codec as it is; a new frame only as it was warped at low resolution, and that blurs. So
once both neighbours are finished, what they show is brought along the same paths at full size, and
mixed in where it agrees. New frames then also match their neighbours, which is less flicker.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from diffst.cfca import Aggregated, Instants
from diffst.flow import box_mean

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
        sides = [pixels(self._made[self._keyframes[k]]) for k in (n, n + 1)]
        frame = pixels(self._made[index])
        if max(frame.shape) > LONGEST_SIDE:
            return
        settle(frame, sides, field.permute(1, 2, 0).cpu().numpy())
        self._made[index] = torch.from_numpy(frame).permute(2, 0, 1)


def pixels(picture: Tensor) -> np.ndarray:
    """(3, H, W) -> (H, W, 3), a copy in main memory."""
    planes: np.ndarray = cv2.merge(list(picture.cpu().numpy()))
    return planes


def settle(frame: np.ndarray, sides: list[np.ndarray], field: np.ndarray) -> None:
    """Mix what both neighbours show into a frame, in place; where they show the same, it stays to the last bit.

    Args:
        frame: (height, width, 3) uint8, uint16 or float32.
        sides: The finished keyframes before and after, likewise.
        field: (H, W, 6), see `neighbours_of`.
    """
    height, width = frame.shape[:2]
    ratio = (width / field.shape[1], height / field.shape[0])
    moves = field * np.array([*ratio, *ratio, 1, 1], np.float32)
    rows = max(1, STRIP_PIXELS // width)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(rows, dtype=np.float32))
    for top in range(0, height, rows):
        strip = slice(top, min(top + rows, height))
        moves_here = grow(moves, strip, (height, width))
        own = cv2.split(frame[strip])
        total = [np.zeros(own[0].shape, np.float32) for _ in own]
        for number, side in enumerate(sides):
            to_x, to_y, share = (moves_here[k] for k in (2 * number, 2 * number + 1, 4 + number))
            num = len(to_x)
            places = cv2.add(to_x, x[:num]), cv2.add(to_y, y[:num] + np.float32(top))
            maps = cv2.convertMaps(*places, cv2.CV_16SC2)
            seen = cv2.remap(side, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            for sum_of, theirs, ours in zip(total, cv2.split(seen), own, strict=True):
                cv2.accumulateProduct(cv2.subtract(theirs, ours, dtype=cv2.CV_32F), share, sum_of)
        depth = DEPTHS[frame.dtype.name]
        mixed = [
            cv2.add(ours, sum_of, dtype=depth) for ours, sum_of in zip(own, total, strict=True)
        ]
        frame[strip] = cv2.merge(mixed)


def grow(field: np.ndarray, strip: slice, size: tuple[int, int]) -> list[np.ndarray]:
    """Some rows of a low-resolution field (H, W, 6) at full size, between its pixels bilinear; a plane per channel."""
    rows = np.arange(strip.start, strip.stop, dtype=np.float32)
    places = np.clip((rows + 0.5) * (len(field) / size[0]) - 0.5, 0, len(field) - 1)
    above = places.astype(np.intp)
    below = np.minimum(above + 1, len(field) - 1)
    part = (places - above).astype(np.float32)[:, None, None]
    lines = field[above] * (1 - part) + field[below] * part
    wide = (size[1], len(rows))
    return [
        plane
        for channels in (lines[..., :4], lines[..., 4:])
        for plane in cv2.split(cv2.resize(np.ascontiguousarray(channels), wide))
    ]
