"""Scores as text: Markdown tables for people, CSV and JSON for programs."""

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict

from diffst_cli.scores import COLUMNS, ClipScore, Interval, Summary


def clip_table(scores: Sequence[ClipScore]) -> str:
    """Markdown: one line for each track, clip and system."""
    lines = [
        [score.track, score.clip, score.system]
        + [_number(column.value(score), column.digits) for column in COLUMNS]
        for score in scores
    ]
    return _markdown(["track", "clip", "system", *_titles()], lines)


def summary_table(summaries: Sequence[Summary]) -> str:
    """Markdown: mean ± half of the 95 % interval, one line for each track and system."""
    lines = [
        [summary.track, summary.system]
        + [
            _with_margin(interval, column.digits)
            for interval, column in zip(summary.intervals, COLUMNS, strict=True)
        ]
        for summary in summaries
    ]
    return _markdown(["track", "system", *_titles()], lines)


def gain_table(gains: Sequence[Summary]) -> str:
    """Markdown: mean gain ± half of the 95 % interval, and the worst clip's in brackets."""
    lines = []
    for gain in gains:
        cells = zip(gain.intervals, COLUMNS, strict=True)
        lines.append(
            [gain.track, gain.system]
            + [
                f"{_with_margin(interval, column.digits, '+')} [{worst:+.{column.digits}f}]"
                for interval, column in cells
                if column.is_quality
                for worst in [interval.lowest if column.higher_is_better else interval.highest]
            ]
        )
    titles = [column.title for column in COLUMNS if column.is_quality]
    return _markdown(["track", "system", *titles], lines)


def to_csv(scores: Sequence[ClipScore]) -> str:
    """One line for each track, clip and system, all digits; empty where nothing was measured."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    keys = [column.key for column in COLUMNS]
    writer.writerow(["track", "clip", "system", "num_frames", *keys])
    for score in scores:
        values = [_finite(column.value(score)) for column in COLUMNS]
        writer.writerow([score.track, score.clip, score.system, score.num_frames, *values])
    return text.getvalue()


def to_json(scores: Sequence[ClipScore], summaries: Sequence[Summary]) -> str:
    """Every frame's numbers under `clips`; the means under `means` (`null`: not known)."""
    means = [
        {"track": summary.track, "system": summary.system}
        | {
            column.key: {"mean": _finite(interval.mean), "half_width": _finite(interval.half_width)}
            for interval, column in zip(summary.intervals, COLUMNS, strict=True)
        }
        for summary in summaries
    ]
    clips = [
        {key: _finite(value) if isinstance(value, float) else value for key, value in fields}
        for fields in (asdict(score).items() for score in scores)
    ]
    return json.dumps({"clips": clips, "means": means}, indent=1)


def _titles() -> list[str]:
    return [column.title for column in COLUMNS]


def _with_margin(interval: Interval, digits: int, sign: str = "") -> str:
    """`27.51 ± 0.32`; the mean alone when one clip gives no interval."""
    text = _number(interval.mean, digits, sign)
    if not math.isfinite(interval.half_width):
        return text
    return f"{text} ± {interval.half_width:.{digits}f}"


def _number(value: float, digits: int, sign: str = "") -> str:
    """`27.51`; a dash for what is not known."""
    return "-" if math.isnan(value) else f"{value:{sign}.{digits}f}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _markdown(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns line up in a terminal."""
    widths = [max(map(len, cells)) for cells in zip(titles, *lines, strict=True)]
    rows = [titles, ["-" * width for width in widths], *lines]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    )
