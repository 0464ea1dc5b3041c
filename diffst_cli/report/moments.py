"""Which moments a page shows: where the videos differ most, one usual one, and the time around them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from diffst_cli.report.measuring import Measurements

NUM_WORST = 5
APART = Fraction(1, 2)  # seconds between two moments, at least
APART_SHARE = Fraction(1, 12)  # of the whole instead, where that is less
SPAN_SECONDS = Fraction(3)  # played around each moment when the whole is too long


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A frame worth looking at."""

    index: int
    """Among the measured frames."""
    time: Fraction
    """Seconds."""
    reason: str
    """Why, in a few words."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """A stretch of the videos that the page plays."""

    start: Fraction
    """Seconds."""
    stop: Fraction
    """Seconds."""
    offset: Fraction
    """Where it begins in the player's own time, seconds."""


def find_moments(found: Measurements, labels: Sequence[str]) -> list[Moment]:
    """The worst moments by each video and metric in turn, and a usual one; in order of time.

    Args:
        found: The measurements.
        labels: Names of the compared videos; empty names are left out of the reasons.
    """
    apart = min(APART, (found.end - found.times[0]) * APART_SHARE)
    chosen: dict[int, str] = {}

    def is_free(index: int) -> bool:
        time = found.times[index]
        return index not in chosen and all(abs(found.times[i] - time) >= apart for i in chosen)

    rankings = list(_rankings(found, labels))
    while rankings and len(chosen) < NUM_WORST:
        for ranking in list(rankings):
            following = next((item for item in ranking if is_free(item[0])), None)
            if following is None:
                rankings.remove(ranking)
            elif len(chosen) < NUM_WORST:
                index, reason = following
                chosen[index] = reason
    usual = _usual(found.series[0].ssim, is_free)
    if usual is not None:
        chosen[usual] = "a usual frame"
    return [
        Moment(index=index, time=found.times[index], reason=reason)
        for index, reason in sorted(chosen.items())
    ]


def _rankings(found: Measurements, labels: Sequence[str]) -> Iterator[Iterator[tuple[int, str]]]:
    """By video and metric: each frame's index and what to say of it, the worst first."""
    for series, label in zip(found.series, labels, strict=True):
        named = f"{label}: " if label else ""
        yield _ranked(series.ssim, 1, named + "low SSIM, {:.3f}")
        yield _ranked(series.psnr, 1, named + "low PSNR, {:.1f} dB")
        yield _ranked(series.flicker, -1, named + "flicker, {:.1f}")


def _ranked(values: Sequence[float], sign: int, words: str) -> Iterator[tuple[int, str]]:
    order = sorted(range(len(values)), key=lambda index: sign * values[index])
    return ((index, words.format(values[index])) for index in order)


def _usual(values: Sequence[float], is_free: Callable[[int], bool]) -> int | None:
    """The free frame whose value is nearest the median."""
    middle = statistics.median(values)
    free = (index for index in range(len(values)) if is_free(index))
    return min(free, key=lambda index: abs(values[index] - middle), default=None)


def choose_spans(
    found: Measurements, moments: Sequence[Moment], max_seconds: Fraction
) -> list[Span]:
    """What the page plays: everything, or where that is too long, the time around each moment.

    Args:
        found: The measurements.
        moments: In order of time.
        max_seconds: Most that may be played.
    """
    first, end = found.times[0], found.end
    if end - first <= max_seconds:
        return [Span(start=first, stop=end, offset=Fraction(0))]
    half = min(SPAN_SECONDS, max_seconds / len(moments)) / 2
    spans: list[Span] = []
    played = Fraction(0)
    for moment in moments:
        earliest = spans[-1].stop if spans else first
        start = max(_frame_at(found, moment.time - half), earliest)
        stop = min(moment.time + half, end)
        spans.append(Span(start=start, stop=stop, offset=played))
        played += stop - start
    return _joined(spans)


def _frame_at(found: Measurements, time: Fraction) -> Fraction:
    """The last measured frame's time at or before `time`, or the first one's."""
    return max((known for known in found.times if known <= time), default=found.times[0])


def _joined(spans: Sequence[Span]) -> list[Span]:
    """The same time with neighbours that touch made one."""
    joined: list[Span] = []
    for span in spans:
        if joined and joined[-1].stop == span.start:
            before = joined.pop()
            span = Span(start=before.start, stop=span.stop, offset=before.offset)
        joined.append(span)
    return joined
