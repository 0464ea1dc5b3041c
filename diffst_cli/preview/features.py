"""What a frame is like, in a few numbers: brightness, contrast, movement, fine detail, text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np
import numpy.typing as npt

from diffst_cli.pixels import narrowed
from diffst_cli.playable import eight_bits
from diffst_cli.reader import Frame
from diffst_cli.shots import split_shots

Grey = npt.NDArray[np.uint8]

MOTION_WIDTH = 160  # pixels, of the picture in which movement is measured
DETAIL_WIDTH = 480  # pixels, of the one in which letters still have strokes
STROKE_GRADIENT = 70  # of 255, between neighbouring pixels of a stroke and of its ground
LETTER_GAP = 9  # pixels over which letters of a line are joined
LINE_HEIGHTS = (6, 48)  # pixels
LINE_ASPECT = 2.0  # width over height of the shortest word
LINE_FILL = 0.45  # share of its box that a line of letters covers


@dataclass(frozen=True, kw_only=True)
class Features:
    """One frame."""

    time: Fraction
    """Seconds, on the source's clock."""
    starts_shot: bool
    brightness: float
    """Mean, of 255."""
    contrast: float
    """Standard deviation, of 255."""
    movement: float
    """Mean change from the frame before, of 255; 0 at the start of a shot."""
    detail: float
    """Mean strength of edges, of 255."""
    text: float
    """Share of the picture that looks like lines of letters."""


def look(frames: Iterable[Frame]) -> Iterator[Features]:
    """The features of each frame; a few frames late."""
    before: Grey | None = None
    for frame, starts_shot in split_shots(frames):
        picture = cv2.cvtColor(eight_bits(frame.image), cv2.COLOR_RGB2GRAY)
        small = narrowed(picture, MOTION_WIDTH)
        change = 0.0 if before is None or starts_shot else float(cv2.absdiff(small, before).mean())
        before = small
        middle = narrowed(picture, DETAIL_WIDTH)
        edges = cv2.morphologyEx(middle, cv2.MORPH_GRADIENT, np.ones((2, 2), np.uint8))
        yield Features(
            time=frame.time,
            starts_shot=starts_shot,
            brightness=float(small.mean()),
            contrast=float(small.std()),
            movement=change,
            detail=float(edges.mean()),
            text=text_share(edges),
        )


def text_share(edges: Grey) -> float:
    """The share of a picture that looks like lines of letters, from the strength of its edges.

    Strokes are joined sideways; what is left as wide, low and well filled boxes counts.
    """
    strokes = (edges >= STROKE_GRADIENT).astype(np.uint8)
    joined = cv2.morphologyEx(strokes, cv2.MORPH_CLOSE, np.ones((1, LETTER_GAP), np.uint8))
    _, _, boxes, _ = cv2.connectedComponentsWithStats(joined, connectivity=4)
    width, height, area = boxes[1:, 2], boxes[1:, 3], boxes[1:, 4]
    low, high = LINE_HEIGHTS
    is_line = (height >= low) & (height <= high) & (width >= LINE_ASPECT * height)
    is_line &= area >= LINE_FILL * width * height
    return float((width * height)[is_line].sum() / edges.size)
