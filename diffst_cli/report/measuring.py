"""How far each video is from the first, frame by frame: PSNR, SSIM and flicker of the luma."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

import cv2
import numpy as np

from diffst_cli.playable import Picture
from diffst_cli.reader import Frame
from diffst_cli.report.sources import Part, Showing, Source, stated_length
from diffst_cli.shots import CutDetector, thumbnail

if TYPE_CHECKING:
    from torch import Tensor

MAX_MEASURED = 1500  # frames; a longer video is measured at evenly spaced ones
# Of R'G'B' of 0 to 255, as 8-bit video stores it: 16 to 235. ITU-R BT.709.
LUMA = np.array([[*(np.array((0.2126, 0.7152, 0.0722)) * 219 / 255), 16]], np.float32)


@dataclass(frozen=True, kw_only=True)
class Series:
    """One video's measurements, one for each time."""

    psnr: list[float] = field(default_factory=list)
    """dB, at most 100."""
    ssim: list[float] = field(default_factory=list)
    """1 for equal frames."""
    flicker: list[float] = field(default_factory=list)
    """Mean difference between its change from the frame before and the first video's, in 8-bit levels."""


@dataclass(kw_only=True)
class Measurements:
    """What was measured, at frames of the first video."""

    series: tuple[Series, ...]
    """Of each video but the first."""
    times: list[Fraction] = field(default_factory=list)
    """Seconds, of the measured frames; rising."""
    cuts: list[Fraction] = field(default_factory=list)
    """Seconds at which the first video starts another shot."""
    num_frames: int = 0
    """Of the first video while every video runs, measured or not."""
    end: Fraction = Fraction(0)
    """Seconds at which the first of the videos ends."""


def measure(
    sources: Sequence[Source],
    part: Part,
    size: tuple[int, int],
    on_frame: Callable[[int], None],
) -> Measurements:
    """Compare every video with the first one, at the frames of the first.

    Each video is represented by what a viewer sees at that time: the newest frame that has begun.

    Args:
        sources: Videos, the first of which the others are compared with.
        part: The stretch of time.
        size: Width and height at which they are compared, in pixels.
        on_frame: Told how many frames of the first video are done.

    Raises:
        UserError: A video cannot be read.
    """
    stride = measuring_stride(sources[0], part)
    with ExitStack() as stack:
        shown = [stack.enter_context(Showing(source, part, size)) for source in sources]
        found = Measurements(series=tuple(Series() for _ in shown[1:]))
        pairs = [_Pair(series) for series in found.series]
        cuts = _Cuts(found.cuts)
        time: Fraction | None = part.start
        while time is not None and all(video.move_to(time) for video in shown):
            cuts.add(shown[0].frame, time)
            place = found.num_frames % stride
            if place in (0, stride - 1):  # the one before is there to see the change since then
                planes = [luma(video.picture()) for video in shown]
                for pair, plane in zip(pairs, planes[1:], strict=True):
                    pair.add(plane, planes[0], counts=place == 0)
            if place == 0:
                found.times.append(time)
            found.num_frames += 1
            on_frame(found.num_frames)
            time = shown[0].next_time
        cuts.finish()
        found.end = min(video.end for video in shown if video.end is not None)
    return found


def measuring_stride(source: Source, part: Part) -> int:
    """Every how many frames one is measured, by what the file says of its length."""
    length = stated_length([source], part)
    return max(math.ceil((length or 0) * source.info.frame_rate / MAX_MEASURED), 1)


def luma(picture: Picture) -> Tensor:
    """The Y' of a picture, (1, H, W) uint8, 16 to 235, as `diffst evaluate` compares it."""
    import torch

    return torch.from_numpy(cv2.transform(picture, LUMA))[None]


class _Pair:
    """One video against the first: fills its series; holds the frames before."""

    def __init__(self, series: Series) -> None:
        self._series = series
        self._before: tuple[Tensor, Tensor] | None = None

    def add(self, mine: Tensor, base: Tensor, *, counts: bool) -> None:
        """Take the next frames, (1, H, W) each; `counts` when they are measured themselves."""
        import torch

        from diffst.metrics import frame_difference_error, psnr, ssim

        if counts:
            self._series.psnr.append(float(psnr(mine, base)))
            self._series.ssim.append(float(ssim(mine, base)))
            old = self._before or (mine, base)
            change = frame_difference_error(torch.cat([old[0], mine]), torch.cat([old[1], base]))
            self._series.flicker.append(float(change))
        self._before = mine, base


class _Cuts:
    """Fills a list with the times of cuts."""

    def __init__(self, found: list[Fraction]) -> None:
        self._found = found
        self._detector = CutDetector()
        self._waiting: deque[Fraction] = deque()
        self._is_first = True

    def add(self, frame: Frame, time: Fraction) -> None:
        """Look at the next frame."""
        self._waiting.append(time)
        self._note(self._detector.add(thumbnail(frame)))

    def finish(self) -> None:
        """Judge what was waiting for frames to come."""
        self._note(self._detector.finish())

    def _note(self, verdicts: Iterable[bool]) -> None:
        for is_cut in verdicts:
            time = self._waiting.popleft()
            if is_cut and not self._is_first:
                self._found.append(time)
            self._is_first = False
