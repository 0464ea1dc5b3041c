"""One HTML file that holds everything: text, plots, pictures, videos, style and script."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from html import escape
from importlib.metadata import version
from importlib.resources import files
from string import Template

from diffst_cli.colour import HDR_TRANSFERS
from diffst_cli.report.excerpts import CRF, Excerpt
from diffst_cli.report.measuring import Measurements, Series
from diffst_cli.report.moments import Moment, Span
from diffst_cli.report.plots import METRICS, Metric, Plot, draw
from diffst_cli.report.sources import MAX_LENGTH_DRIFT, Source, shortest_of
from diffst_cli.words import counted, gigabytes

SCRIPTS = ("player.js", "stage.js", "page.js")


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the page tells."""

    sources: tuple[Source, ...]
    """The first is what the others are measured against."""
    has_reference: bool
    """Whether the first is the true video."""
    size: tuple[int, int]
    """Width and height at which all are shown, in pixels."""
    found: Measurements
    stride: int
    """Every how many frames one was measured."""
    moments: tuple[Moment, ...]
    spans: tuple[Span, ...]
    excerpts: tuple[Excerpt, ...]
    """Of each source."""


def render(report: Report) -> str:
    """The page's text."""
    assets = files(__package__).joinpath("assets")
    read = {
        name: assets.joinpath(name).read_text(encoding="utf-8")
        for name in ("page.html", "page.css", *SCRIPTS)
    }
    names = [escape(source.label) for source in report.sources]
    compared = names[1:] if report.has_reference and len(names) > 2 else names
    first = names[0]
    truth = report.has_reference
    return Template(read["page.html"]).substitute(
        style=read["page.css"],
        script='"use strict";\n' + "".join(read[name] for name in SCRIPTS),
        title=" · ".join(compared),
        heading='&nbsp;<span class="versus">·</span> '.join(compared),
        lead=_lead(report),
        moments_title="Worst moments" if truth else "Where they differ most",
        moments_hint="Found by the figures below, each with the worst value first, and one usual frame to be fair. "
        "Click one to see its stills.",
        plots_hint=f"Every line is measured against {first}. "
        + ("" if truth else f"{first} is not the truth: a difference may be for the better. ")
        + "Click to go there. Orange lines are the moments above"
        + (", dotted lines are cuts" if report.found.cuts else "")
        + (", shaded is what this page plays" if len(report.spans) > 1 else "")
        + ".",
        legend=_legend(report),
        plots="\n".join(_figure(report, metric) for metric in METRICS),
        table=_table(report),
        notes="\n".join(f"<li>{note}</li>" for note in _notes(report)),
        version=escape(version("diffst")),
        payload="\n".join(
            f'<script type="text/plain" id="video-{number}">{_base64(excerpt.video)}</script>'
            for number, excerpt in enumerate(report.excerpts)
        ),
        data=_json(page_data(report)),
    )


def page_data(report: Report) -> dict[str, object]:
    """What the page's script works with; times in seconds."""
    found, spans = report.found, report.spans
    last = spans[-1]
    both_compared = report.has_reference and len(report.sources) > 2
    worst = min(
        report.moments,
        key=lambda moment: min(series.ssim[moment.index] for series in found.series),
    )
    return {
        "width": report.size[0],
        "height": report.size[1],
        "videos": [
            {"label": source.label, "chip": _chip(source, report)} for source in report.sources
        ],
        "left": 1 if both_compared else 0,
        "right": 2 if both_compared else 1,
        "first": float(found.times[0]),
        "end": float(found.end),
        "duration": _seconds(last.offset + last.stop - last.start),
        "frames": [_seconds(time) for time in max((e.times for e in report.excerpts), key=len)],
        "spans": [
            {"start": _seconds(s.start), "stop": _seconds(s.stop), "offset": _seconds(s.offset)}
            for s in spans
        ],
        "moments": [
            {
                "time": _seconds(moment.time),
                "at": _seconds(_player_time(moment.time, spans)),
                "reason": moment.reason,
                "stills": [
                    f"data:image/jpeg;base64,{_base64(excerpt.stills[number])}"
                    for excerpt in report.excerpts
                ],
            }
            for number, moment in enumerate(report.moments)
        ],
        "start": report.moments.index(worst),
        "times": [_seconds(time) for time in found.times],
        "series": [
            {m.name: [round(value, 4) for value in getattr(series, m.name)] for m in METRICS}
            for series in found.series
        ],
    }


def _chip(source: Source, report: Report) -> str:
    """What stands on the picture: the video's name, and what it took to bring it to this size."""
    pixels, shown = source.info.width * source.info.height, report.size[0] * report.size[1]
    return f"{source.label}, lanczos" if pixels < shown else source.label


def _player_time(time: Fraction, spans: Sequence[Span]) -> Fraction:
    span = next(span for span in reversed(spans) if span.start <= time)
    return span.offset + time - span.start


def _instant(seconds: Fraction) -> str:
    """Seconds as the page's player shows them: `1:02.50`."""
    minutes, rest = divmod(round(float(seconds), 2), 60)
    return f"{minutes:.0f}:{rest:05.2f}"


def _lead(report: Report) -> str:
    width, height = report.size
    frames = f"{counted(report.found.num_frames, 'frame')}, {_instant(report.found.end - report.found.times[0])}"
    against = escape(report.sources[0].label)
    truth = (
        f"measured against {against}, the true video"
        if report.has_reference
        else f"measured against {against}"
    )
    return f"{frames}, shown at {width}×{height}, {truth}."


def _legend(report: Report) -> str:
    rows = (
        f'<li style="--chip:var(--video-{number})">{escape(source.label)}</li>'
        for number, source in enumerate(report.sources)
        if number > 0
    )
    return f'<ul class="names">{"".join(rows)}</ul>'


def _figure(report: Report, metric: Metric) -> str:
    found = report.found
    plot = Plot(
        metric=metric,
        times=[float(time) for time in found.times],
        lines=[getattr(series, metric.name) for series in found.series],
        end=float(found.end),
    )
    drawing = draw(
        plot,
        cuts=[float(time) for time in found.cuts],
        moments=[float(moment.time) for moment in report.moments],
    )
    now = "".join(
        f'<b style="--chip:var(--video-{number})" data-metric="{metric.name}" '
        f'data-video="{number - 1}" data-digits="{metric.digits}"></b>'
        for number in range(1, len(report.sources))
    )
    low, high = plot.bounds
    return (
        f'<figure><figcaption>{metric.title} <small>{metric.remark}</small><span class="now">{now}</span></figcaption>'
        f'<div class="plot"><div class="axis"><span>{high:.4g}</span><span>{low:.4g}</span></div>'
        f'<div class="area">{drawing}</div></div>'
        f'<div class="times"><span>{_instant(found.times[0])}</span><span>{_instant(found.end)}</span></div>'
        "</figure>"
    )


def _table(report: Report) -> str:
    heads = (
        "Video",
        "Size",
        "Frames/s",
        "Length",
        "Codec",
        "File",
        *(metric.title for metric in METRICS),
    )
    rows = []
    for number, source in enumerate(report.sources):
        series = report.found.series[number - 1] if number else None
        cells = [*_facts(source), *_means(series)]
        rows.append(
            f'<tr><th scope="row" style="--chip:var(--video-{number})">{escape(source.label)}</th>'
            + "".join(f"<td>{cell}</td>" for cell in cells)
            + "</tr>"
        )
    head = "".join(f'<th scope="col">{title}</th>' for title in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _facts(source: Source) -> list[str]:
    info = source.info
    size = sum(path.stat().st_size for path in (info.images or (info.path,)))
    rate = f"{float(info.frame_rate):.4g}" + (", variable" if info.is_variable else "")
    length = "—" if info.duration_seconds is None else _instant(info.duration_seconds)
    return [
        f"{info.width}×{info.height}",
        rate,
        length,
        escape(f"{info.codec}, {info.bit_depth} bit"),
        gigabytes(size),
    ]


def _means(series: Series | None) -> list[str]:
    if series is None:
        return ["—"] * len(METRICS)
    values = [(getattr(series, metric.name), metric.digits) for metric in METRICS]
    return [f"{sum(line) / len(line):.{digits}f}" for line, digits in values]


def length_note(report: Report) -> str | None:
    """That one video ends before others and is why the comparison does; None where it is not so."""
    shortest = shortest_of(report.sources)
    if shortest is None:
        return None
    end = shortest.info.duration_seconds or Fraction(0)
    if report.found.end < end - MAX_LENGTH_DRIFT:  # `--duration` was the reason
        return None
    return (
        f"{shortest.label} ends at {_instant(end)}, before the others do: only so much is compared."
    )


def _notes(report: Report) -> list[str]:
    """What a reader must know to read the page right, as HTML."""
    notes = []
    if (note := length_note(report)) is not None:
        notes.append(escape(note))
    width, height = report.size
    for source, excerpt in zip(report.sources, report.excerpts, strict=True):
        name, info = escape(source.label), source.info
        if info.width * info.height < width * height:
            notes.append(f"{name} is enlarged from {info.width}×{info.height} by lanczos.")
        if info.width * info.height > width * height:
            notes.append(f"{name} is reduced from {info.width}×{info.height}.")
        if info.colour.transfer in HDR_TRANSFERS:
            notes.append(f"{name} is HDR and is shown without tone mapping, so it looks flat here.")
        if excerpt.is_copy:
            notes.append(f"{name} is played as it is.")
    if not all(excerpt.is_copy for excerpt in report.excerpts):
        notes.append(
            f"What is not played as it is was encoded again, H.264 at crf {CRF} or what the page's "
            "size allows."
        )
    notes.append("Stills are JPEG. Everything was measured on the videos themselves.")
    notes.append(
        "At each frame of the first video, the others are represented by the frame that a viewer sees then; "
        "frames that lie between are played but not measured. Figures are of the luma at the size shown; "
        "the table has their means."
    )
    if report.stride > 1:
        notes.append(f"Every {report.stride}th frame is measured.")
    if len(report.spans) > 1:
        notes.append("The videos are long: this page plays the time around each moment.")
    return notes


def _json(value: object) -> str:
    """JSON that can stand inside a script element."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")


def _base64(content: bytes) -> str:
    return b64encode(content).decode("ascii")


def _seconds(time: Fraction) -> float:
    return round(float(time), 6)
