"""Scores as text: Markdown tables for people, CSV and JSON for programs."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence

from diffst_cli.evaluation.scores import ClipScore, Column, Interval, Summary, columns_of
from diffst_cli.words import printable


def clip_table(scores: Sequence[ClipScore]) -> str:
    """Markdown: one line for each track, clip and system."""
    columns = columns_of(scores)
    lines = [
        [score.track, score.clip, score.system]
        + [_number(column.value(score), column.digits) for column in columns]
        for score in scores
    ]
    return _markdown(["track", "clip", "system", *_titles(columns)], lines)


def summary_table(summaries: Sequence[Summary]) -> str:
    """Markdown: mean ± half of the 95 % interval, one line for each track and system."""
    lines = [
        [summary.track, summary.system]
        + [_with_margin(interval, column.digits) for interval, column in _cells(summary)]
        for summary in summaries
    ]
    return _markdown(["track", "system", *_titles(summaries[0].columns)], lines)


def gain_table(gains: Sequence[Summary]) -> str:
    """Markdown: mean gain ± half of the 95 % interval, and the worst clip's in brackets."""
    lines = []
    for gain in gains:
        cells = [gain.track, gain.system]
        for interval, column in _cells(gain):
            worst = interval.lowest if column.higher_is_better else interval.highest
            margin = _with_margin(interval, column.digits, "+")
            cells.append(f"{margin} [{_number(worst, column.digits, '+')}]")
        lines.append(cells)
    return _markdown(["track", "system", *_titles(gains[0].columns)], lines)


def to_csv(scores: Sequence[ClipScore]) -> str:
    """One line for each track, clip and system, all digits; empty where nothing was measured."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = columns_of(scores)
    keys = [column.key for column in columns]
    writer.writerow(["track", "clip", "system", "num_frames", *keys])
    for score in scores:
        values = [_finite(column.value(score)) for column in columns]
        writer.writerow([score.track, score.clip, score.system, score.num_frames, *values])
    return text.getvalue()


def to_json(
    scores: Sequence[ClipScore], summaries: Sequence[Summary], about: Mapping[str, object]
) -> str:
    """Every frame's numbers under `clips`; the means under `means` (`null`: not known).

    Args:
        scores: One for each track, clip and system.
        summaries: Their means over clips.
        about: What stands before them: how they were measured.
    """
    clips = [
        {"track": score.track, "clip": score.clip, "system": score.system}
        | {key: [_finite(value) for value in values] for key, values in score.series.items()}
        | {column.key: _finite(column.value(score)) for column in _costs(columns_of(scores))}
        for score in scores
    ]
    means = [
        {"track": summary.track, "system": summary.system}
        | {
            column.key: {
                "mean": _finite(interval.mean),
                "half_width": _finite(interval.half_width),
            }
            for interval, column in _cells(summary)
        }
        for summary in summaries
    ]
    return json.dumps({**about, "clips": clips, "means": means}, indent=1) + "\n"


def _titles(columns: Sequence[Column]) -> list[str]:
    return [column.title for column in columns]


def _costs(columns: Sequence[Column]) -> list[Column]:
    return [column for column in columns if column.series is None]


def _cells(summary: Summary) -> list[tuple[Interval, Column]]:
    return list(zip(summary.intervals, summary.columns, strict=True))


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


def _cell(text: str) -> str:
    return printable(text).replace("\n", " ").replace("|", "\\|")


def _markdown(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns line up in a terminal."""
    lines = [[_cell(text) for text in line] for line in lines]
    widths = [max(map(len, cells)) for cells in zip(titles, *lines, strict=True)]
    rows = [titles, ["-" * width for width in widths], *lines]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    )
