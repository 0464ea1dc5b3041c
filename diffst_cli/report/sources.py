"""The videos of a comparison: their facts, their names, one size for all, and what each shows when."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from diffst_cli.errors import UsageError, UserError
from diffst_cli.playable import Picture, eight_bits, fit
from diffst_cli.probe import VideoInfo, probe
from diffst_cli.reader import Frame, read_frames

MAX_ASPECT_DRIFT = Fraction(3, 100)  # of width over height; more is another picture
MAX_LENGTH_DRIFT = Fraction(1, 5)  # seconds; less is a frame or two
LEAD_SECONDS = Fraction(5)  # before a time from which to read, where frames may be held long
EARLY_SECONDS = Fraction(2, 1000)  # by which a frame counts as shown; containers round times


@dataclass(frozen=True, kw_only=True)
class Source:
    """One video of a comparison."""

    info: VideoInfo
    label: str
    """What the page calls it: its file's name, longer where two would be alike."""

    @property
    def tolerance(self) -> Fraction:
        """Seconds before its own time at which a frame counts as shown."""
        return min(EARLY_SECONDS, 1 / (4 * self.info.frame_rate))


@dataclass(frozen=True, kw_only=True)
class Part:
    """The stretch of time that is compared, on the clock that players show."""

    start: Fraction = Fraction(0)
    """Seconds."""
    duration: Fraction | None = None
    """Seconds; None for all the rest."""


def open_sources(paths: Sequence[Path]) -> list[Source]:
    """The videos, looked at.

    Raises:
        UsageError: One is given twice.
        UserError: One cannot be read, or is not of the same picture as the first.
    """
    if len({os.path.realpath(path) for path in paths}) < len(paths):
        raise UsageError("a video is given twice", hint="compare different files")
    names = [path.name or str(path) for path in paths]
    alike = len(set(names)) < len(names)
    labels = [str(path) for path in paths] if alike else names
    sources = [
        Source(info=probe(path), label=label) for path, label in zip(paths, labels, strict=True)
    ]
    for source in sources[1:]:
        _check_shape(sources[0], source)
    return sources


def stated_length(sources: Sequence[Source], part: Part) -> Fraction | None:
    """Seconds of a part that all sources have, by what the files say; None where nothing says."""
    lengths = [part.duration] if part.duration is not None else []
    for source in sources:
        if source.info.duration_seconds is not None:
            lengths.append(max(source.info.duration_seconds - part.start, Fraction(0)))
    return min(lengths, default=None)


def shown_size(info: VideoInfo) -> tuple[Fraction, Fraction]:
    """Width and height with square pixels, as players show it."""
    return info.width * info.sample_aspect, Fraction(info.height)


def common_size(sources: Sequence[Source], max_side: int) -> tuple[int, int]:
    """(width, height) at which all are compared: the largest one's, at most `max_side`, even."""
    width, height = max((shown_size(source.info) for source in sources), key=lambda s: s[0] * s[1])
    scale = min(Fraction(1), max_side / max(width, height))
    return tuple(max(round(side * scale / 2) * 2, 16) for side in (width, height))  # type: ignore[return-value]


def _check_shape(first: Source, other: Source) -> None:
    shapes = [shown_size(source.info) for source in (first, other)]
    ratios = [width / height for width, height in shapes]
    if abs(ratios[1] / ratios[0] - 1) > MAX_ASPECT_DRIFT:
        sizes = [f"{float(width):g}x{float(height):g}" for width, height in shapes]
        raise UserError(
            f"`{other.info.path}` is {sizes[1]} and `{first.info.path}` {sizes[0]}: not one picture",
            hint="crop one of them first, so that both show the same",
        )


def shortest_of(sources: Sequence[Source]) -> Source | None:
    """The one whose end is the end of what can be compared; None where all are of one length, give or take."""
    known = [source for source in sources if source.info.duration_seconds is not None]
    ends = [source.info.duration_seconds or Fraction(0) for source in known]
    if not ends or max(ends) - min(ends) <= MAX_LENGTH_DRIFT:
        return None
    return known[ends.index(min(ends))]


def timed_frames(source: Source, start: Fraction, stop: Fraction | None) -> Iterator[Frame]:
    """Frames from the one shown at `start` to before `stop`, seconds on the players' clock.

    Their `time` is on that clock too; the first one's may lie before `start`.
    """
    info = source.info
    lead = LEAD_SECONDS if info.is_variable else 2 / info.frame_rate + source.tolerance
    begin = max(start - lead, Fraction(0))
    length = None if stop is None else stop - begin
    whole = begin == 0 and length is None
    held: Frame | None = None
    with read_frames(info, start=None if whole else begin, duration=length) as reader:
        for frame in reader:
            time = frame.time - info.origin_seconds
            moved = Frame(image=frame.image, time=time, index=frame.index)
            if time <= start + source.tolerance:
                held = moved
                continue
            if held is not None:
                yield held
                held = None
            yield moved
    if held is not None:
        yield held


class Showing(AbstractContextManager["Showing"]):
    """What a video shows at rising times; owns its reader, and holds two frames."""

    def __init__(self, source: Source, part: Part, size: tuple[int, int]) -> None:
        """Start reading.

        Args:
            source: The video.
            part: The stretch of time that will be asked for.
            size: Width and height of the pictures given out, in pixels.
        """
        stop = None if part.duration is None else part.start + part.duration
        self._source = source
        self._size = size
        self._frames = timed_frames(source, part.start, stop)
        self._step = 1 / source.info.frame_rate
        self._now = next(self._frames)
        self._next = next(self._frames, None)
        self._picture: Picture | None = None

    @property
    def frame(self) -> Frame:
        """The frame now shown, as read; its time is on the players' clock."""
        return self._now

    @property
    def next_time(self) -> Fraction | None:
        """When the next frame begins, seconds; None after the last."""
        return None if self._next is None else self._next.time

    @property
    def end(self) -> Fraction | None:
        """When the video ends, seconds; None while frames follow."""
        return self._now.time + self._step if self._next is None else None

    def move_to(self, time: Fraction) -> bool:
        """Go on to what is shown at `time`; whether the video still runs then."""
        while self._next is not None and self._next.time <= time + self._source.tolerance:
            self._now, self._next = self._next, next(self._frames, None)
            self._picture = None
        return self.end is None or time < self.end

    def picture(self) -> Picture:
        """The frame now shown, at the size asked for."""
        if self._picture is None:
            self._picture = fit(eight_bits(self._now.image), self._size)
        return self._picture

    def __exit__(self, *_: object) -> None:
        self._frames.close()  # type: ignore[attr-defined]
