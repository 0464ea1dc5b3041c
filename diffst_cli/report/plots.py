"""Small line plots over time, as SVG that takes its colours from the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 1000, 120  # units of the drawing; the page stretches it
MARGIN = 6  # units left free above and below the lines
MAX_POINTS = 500  # of a line; more are merged, extremes kept


@dataclass(frozen=True, kw_only=True)
class Metric:
    """Something measured, and how it is drawn."""

    name: str
    """Of the field of `measuring.Series`."""
    title: str
    remark: str
    """What the number is, and which way is nearer to the first video."""
    digits: int
    """After the point."""
    least: float = -math.inf
    """The lowest value drawn."""
    most: float = math.inf
    """The highest value drawn."""
    least_range: float
    """The axis covers this much, so that noise does not look like a drama."""


METRICS = (
    Metric(
        name="psnr",
        title="PSNR",
        remark="dB of the luma, higher is nearer",
        digits=2,
        most=60.0,  # equal frames have 100, which would press the rest together
        least_range=4.0,
    ),
    Metric(
        name="ssim",
        title="SSIM",
        remark="of the luma, 1 is equal",
        digits=4,
        most=1.0,
        least_range=0.05,
    ),
    Metric(
        name="flicker",
        title="Flicker",
        remark="how much its changes from frame to frame differ, in levels of 255; lower is nearer",
        digits=2,
        least=0.0,
        least_range=1.0,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Plot:
    """One metric of every compared video."""

    metric: Metric
    times: Sequence[float]
    """Seconds."""
    lines: Sequence[Sequence[float]]
    """Of each video, as long as `times`."""
    end: float
    """Seconds where the axis ends; it begins at the first time."""

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest value of the axis."""
        metric = self.metric
        drawn = [min(max(v, metric.least), metric.most) for line in self.lines for v in line]
        low, high = min(drawn), max(drawn)
        missing = max(metric.least_range - (high - low), 0.0)
        low = max(low - missing / 2, metric.least)
        high = min(max(high, low + metric.least_range), metric.most)
        return min(low, high - metric.least_range), high


def draw(plot: Plot, *, cuts: Sequence[float], moments: Sequence[float]) -> str:
    """The plot as an `<svg>` element; lines have the classes `line line-1`, `line line-2` and on."""
    first = plot.times[0]

    def x(time: float) -> str:
        return f"{WIDTH * (time - first) / (plot.end - first):.1f}"

    low, high = plot.bounds

    def y(value: float) -> str:
        share = (min(max(value, low), high) - low) / (high - low)
        return f"{HEIGHT - MARGIN - share * (HEIGHT - 2 * MARGIN):.1f}"

    marks = [f'<path class="cut" d="M{x(time)} 0V{HEIGHT}"/>' for time in cuts]
    marks += [f'<path class="mark" d="M{x(time)} 0V{HEIGHT}"/>' for time in moments]
    curves = []
    for number, line in enumerate(plot.lines, start=1):
        points = " ".join(f"{x(time)},{y(value)}" for time, value in thin(plot.times, line))
        curves.append(f'<polyline class="line line-{number}" points="{points}"/>')
    label = escape(f"{plot.metric.title} over time, axis from {low:.3g} to {high:.3g}")
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{label}">{"".join(marks)}{"".join(curves)}</svg>'
    )


def thin(times: Sequence[float], values: Sequence[float]) -> list[tuple[float, float]]:
    """The points of a line, or where there are too many, the lowest and highest of each stretch."""
    points = list(zip(times, values, strict=True))
    if len(points) <= MAX_POINTS:
        return points
    length = math.ceil(2 * len(points) / MAX_POINTS)
    kept = []
    for start in range(0, len(points), length):
        stretch = points[start : start + length]
        ends = {min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])}
        kept += sorted(ends)
    return kept
