"""Where one shot ends and the next begins, found while frames stream by.

A cut is a change of the whole picture that stands out from the changes around it: in a pan or in
fast action the neighbouring frames change as much. A flash is no cut: the picture comes back.
Measured on 58 real clips put together in every order: 6 of 3306 cuts missed, all between two takes
of one scene, and nothing found within the clips.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from diffst_cli.reader import Frame

Thumbnail: TypeAlias = npt.NDArray[np.float32]

THUMBNAIL_HEIGHT, THUMBNAIL_WIDTH = 36, 64
SAMPLES_PER_CELL = 4  # pixels averaged across and down for one of the thumbnail's
WINDOW = 6  # frames looked at on each side; drawn animation repeats each picture up to three times
MIN_CHANGE = 8  # of 255, mean over the picture; smaller changes are not cuts
MIN_RATIO = 2  # of a cut's change to those around it
MIN_RATIO_AT_EDGE = 4  # the same where one side has no neighbours to compare with
FLASH_FRAMES = 3  # longest flash; a picture that is back after it has not been cut away
FLASH_SHARE = 0.5  # of the cut's change; a picture back to less than this is the same picture


def split_shots(frames: Iterable[Frame]) -> Iterator[tuple[Frame, bool]]:
    """Each frame, and whether it is the first of a shot; `WINDOW` frames late.

    The first frame of all is the first of a shot.
    """
    detector = CutDetector()
    waiting: deque[Frame] = deque()
    for frame in frames:
        waiting.append(frame)
        for is_cut in detector.add(thumbnail(frame)):
            yield waiting.popleft(), is_cut
    for is_cut in detector.finish():
        yield waiting.popleft(), is_cut


@dataclass(frozen=True, eq=False)
class _Seen:
    """A frame that is waiting for a verdict, or that others are compared with."""

    thumbnail: Thumbnail
    change: float | None
    """From the frame before, mean over the picture, of 255; None for the first of a shot, whose change
    says nothing about how much the shot moves."""


class CutDetector:
    """Judges thumbnails, fed one by one, in order; holds a few of them on each side of the judged."""

    def __init__(self) -> None:
        self._before: deque[_Seen] = deque(maxlen=WINDOW)  # judged, newest last
        self._ahead: deque[_Seen] = deque()  # not judged yet
        self._last: Thumbnail | None = None

    def add(self, picture: Thumbnail) -> list[bool]:
        """Take the next thumbnail; the verdicts that it settles, for frames in order."""
        change = None if self._last is None else difference(self._last, picture)
        self._ahead.append(_Seen(picture, change))
        self._last = picture
        return [self._judge()] if len(self._ahead) > WINDOW else []

    def finish(self) -> list[bool]:
        """The verdicts that were still waiting for frames to come."""
        return [self._judge() for _ in range(len(self._ahead))]

    def _judge(self) -> bool:
        """Whether the oldest waiting frame starts a shot."""
        frame = self._ahead.popleft()
        is_cut = frame.change is None or (
            self._stands_out(frame.change) and not self._is_flash(frame, frame.change)
        )
        self._before.append(_Seen(frame.thumbnail, None if is_cut else frame.change))
        return is_cut

    def _stands_out(self, change: float) -> bool:
        if change < MIN_CHANGE:
            return False
        before: list[float] = []  # in the present shot
        for seen in self._before:
            before = [] if seen.change is None else [*before, seen.change]
        after = [seen.change for seen in self._ahead if seen.change is not None]
        usual = max(_second_largest(before), _second_largest(after), 1.0)
        return change >= usual * (MIN_RATIO if before and after else MIN_RATIO_AT_EDGE)

    def _is_flash(self, frame: _Seen, change: float) -> bool:
        """Whether a picture from just before comes back within `FLASH_FRAMES` frames of it."""
        after = [frame, *self._ahead][: FLASH_FRAMES + 1]
        before = list(self._before)[::-1][: FLASH_FRAMES + 1]
        return any(
            difference(old.thumbnail, new.thumbnail) < FLASH_SHARE * change
            for back, old in enumerate(before)
            for ahead, new in enumerate(after)
            if 0 < back + ahead <= FLASH_FRAMES
        )


def _second_largest(changes: Sequence[float]) -> float:
    """The second largest, because the largest may be another cut; 0 when there is none."""
    return sorted(changes)[-2:][0] if changes else 0.0


def thumbnail(frame: Frame) -> Thumbnail:
    """A small picture of the frame: (36, 64, 3), 0 to 255."""
    rows = _sample(frame.image.shape[0], THUMBNAIL_HEIGHT)
    columns = _sample(frame.image.shape[1], THUMBNAIL_WIDTH)
    sampled = frame.image[rows[:, None], columns].astype(np.float32)
    cells = sampled.reshape(
        THUMBNAIL_HEIGHT, SAMPLES_PER_CELL, THUMBNAIL_WIDTH, SAMPLES_PER_CELL, 3
    )
    full = np.iinfo(frame.image.dtype).max
    small: Thumbnail = cells.mean(axis=(1, 3)) * np.float32(255 / full)
    return small


def _sample(length: int, num_cells: int) -> npt.NDArray[np.intp]:
    """Indices, evenly spread over `length` pixels, `SAMPLES_PER_CELL` for each cell."""
    count = num_cells * SAMPLES_PER_CELL
    return ((np.arange(count) + 0.5) * length / count).astype(np.intp)


def difference(first: Thumbnail, second: Thumbnail) -> float:
    """Mean absolute difference of two thumbnails, of 255."""
    return float(np.abs(first - second).mean())
