"""Two pictures side by side under their labels, the same part of both."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from diffst_cli.playable import Picture

MAX_PANEL = (958, 996)  # width and height; two of them with their bars make 1920x1080
GAP = 4  # pixels between the panels
BAR = 42  # pixels, of the labels above and below
GROUND, INK, SOFT = (16, 18, 20), (236, 238, 239), (160, 166, 173)  # R'G'B'
FONT = cv2.FONT_HERSHEY_DUPLEX
FINER = 3  # times larger in which text is drawn, then reduced
TEXT_HEIGHT = 15  # pixels of a capital letter
LEFT_MARGIN = 14  # pixels before a label


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What part of a picture a panel shows, pixel for pixel."""

    left: int
    top: int
    width: int
    height: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the whole, even."""
        return 2 * self.width + GAP, self.height + 2 * BAR

    def crop(self, picture: Picture) -> Picture:
        """The part of a picture that is shown."""
        return picture[self.top : self.top + self.height, self.left : self.left + self.width]


def choose_layout(picture: Picture) -> Layout:
    """All of a small picture; of a large one the part with most detail.

    Args:
        picture: One that is to be shown.
    """
    full_height, full_width = picture.shape[:2]
    width, height = (
        min(side, most) // 2 * 2
        for side, most in zip((full_width, full_height), MAX_PANEL, strict=True)
    )
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    edges = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    sums = cv2.integral(edges)
    inside = (
        sums[height:, width:]
        - sums[:-height, width:]
        - sums[height:, :-width]
        + sums[:-height, :-width]
    )
    top, left = np.unravel_index(int(np.argmax(inside)), inside.shape)
    return Layout(left=int(left), top=int(top), width=width, height=height)


def side_by_side(
    layout: Layout, before: Picture, after: Picture, above: Picture, below: Picture
) -> Picture:
    """Both pictures' parts between the bars of `make_labels`, (height, width, 3)."""
    gap = np.full((layout.height, GAP, 3), GROUND, np.uint8)
    middle = np.hstack([layout.crop(before), gap, layout.crop(after)])
    return np.vstack([above, middle, below])


def make_labels(layout: Layout, before: str, after: str, caption: str) -> tuple[Picture, Picture]:
    """The bars above and below: `before` and `after` over their panels, `caption` at the foot."""
    width, _ = layout.size
    above, below = (np.full((BAR, width, 3), GROUND, np.uint8) for _ in range(2))
    _write(above[:, : layout.width], before, INK)
    _write(above[:, layout.width + GAP :], after, INK)
    _write(below, caption, SOFT)
    return above, below


def _write(bar: Picture, text: str, colour: tuple[int, int, int]) -> None:
    """Draw a line of text into `bar`, smaller where it would not fit."""
    height, width = bar.shape[:2]
    plain = text.encode("ascii", "replace").decode("ascii")  # all that this font has
    scale = cv2.getFontScaleFromHeight(FONT, TEXT_HEIGHT * FINER, FINER)
    (length, _), _ = cv2.getTextSize(plain, FONT, scale, FINER)
    room = (width - 2 * LEFT_MARGIN) * FINER
    scale *= min(1.0, room / max(length, 1))
    large = np.full((height * FINER, width * FINER, 3), GROUND, np.uint8)
    foot = (height + TEXT_HEIGHT) // 2 * FINER
    cv2.putText(
        large, plain, (LEFT_MARGIN * FINER, foot), FONT, scale, colour, FINER - 1, cv2.LINE_AA
    )
    bar[:] = cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA)
