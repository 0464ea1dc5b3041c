"""Draw one frame before and after: the pixels of the input, lanczos, and diffst, side by side.

Usage: python before_after.py INPUT OUTPUT PICTURE.png
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from diffst_cli.probe import probe
from diffst_cli.reader import Frame, read_frames

Image = npt.NDArray[np.uint8]

FRAME = 14  # of the input; both sides of it are there, so nothing is at an edge of the clip
CENTRE = 0.56  # of the width: where the bee's head is
PANEL_FRACTION = 0.4  # of the output's width shown in each panel
LABEL_HEIGHT = 44  # pixels


def frame_at(path: Path, index: int) -> Frame:
    """The frame with this index, 8 bits a channel."""
    with read_frames(probe(path)) as reader:
        for frame in reader:
            if frame.index == index:
                return frame
    raise ValueError(f"{path} has no frame {index}")


def frame_nearest(path: Path, time: float) -> Frame:
    """The frame whose time, in seconds, is nearest."""
    return min(read_frames(probe(path)), key=lambda frame: abs(float(frame.time) - time))


def panel(image: Image, label: str) -> Image:
    """The middle of the interesting part of an RGB image, under its label."""
    width = image.shape[1]
    panel_width = int(width * PANEL_FRACTION)
    left = min(max(int(width * CENTRE) - panel_width // 2, 0), width - panel_width)
    bar = np.full((LABEL_HEIGHT, panel_width, 3), 24, dtype=np.uint8)
    place = (12, LABEL_HEIGHT - 14)
    cv2.putText(bar, label, place, cv2.FONT_HERSHEY_SIMPLEX, 0.8, (235, 235, 235), 2, cv2.LINE_AA)
    return np.vstack([bar, image[:, left : left + panel_width]])


def main(source: Path, result: Path, picture: Path) -> None:
    """Write `picture`, a PNG."""
    before = frame_at(source, FRAME)
    after = frame_nearest(result, float(before.time))
    size = (after.image.shape[1], after.image.shape[0])
    panels = [
        panel(cv2.resize(before.image, size, interpolation=cv2.INTER_NEAREST), "before"),
        panel(cv2.resize(before.image, size, interpolation=cv2.INTER_LANCZOS4), "lanczos"),
        panel(after.image, "diffst"),
    ]
    gap = np.full((panels[0].shape[0], 8, 3), 24, dtype=np.uint8)
    row = np.hstack([panels[0], gap, panels[1], gap, panels[2]])
    picture.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(picture), cv2.cvtColor(row, cv2.COLOR_RGB2BGR)):
        raise OSError(f"cannot write {picture}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
