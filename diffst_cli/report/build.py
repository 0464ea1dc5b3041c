"""From videos to the page: measure, choose moments, make excerpts, put the page together."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from diffst_cli.errors import UsageError, UserError
from diffst_cli.progress import Reporter
from diffst_cli.report.excerpts import Budget, Excerpt, make_excerpt
from diffst_cli.report.measuring import measure, measuring_stride
from diffst_cli.report.moments import Moment, Span, choose_spans, find_moments
from diffst_cli.report.page import Report, length_note, render
from diffst_cli.report.sources import Part, Source, common_size, open_sources, stated_length
from diffst_cli.report_files import check_report, is_one_of, is_taken, write_report

MAX_VIDEOS = 6  # that one page still shows well
MEGABYTE = 1_000_000
MIN_SIDE, MAX_SIDE = 64, 4096  # pixels; browsers play no larger H.264


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What to compare; checked when made.

    Raises:
        UsageError: A value is out of range.
    """

    videos: tuple[Path, ...]
    output: Path
    """The page."""
    reference: Path | None
    """The true video; None measures against the first of `videos`."""
    start: Fraction
    """Seconds."""
    duration: Fraction | None
    """Seconds; None for all the rest."""
    play_seconds: Fraction
    """Most that the page plays."""
    max_megabytes: int
    """About how large the page may be."""
    max_side: int
    """Longest side at which videos are compared, in pixels."""
    overwrite: bool

    def __post_init__(self) -> None:
        num_videos = len(self.videos) + (self.reference is not None)
        if not 2 <= num_videos <= MAX_VIDEOS:
            raise UsageError(
                f"videos to compare: {num_videos}; `compare` takes 2 to {MAX_VIDEOS}",
                hint="a video given with `--reference` counts",
            )
        if self.start < 0:
            raise UsageError("`--start` takes 0 or more seconds")
        if (self.duration is not None and self.duration <= 0) or self.play_seconds <= 0:
            raise UsageError("`--duration` and `--play` take more than 0 seconds")
        if self.max_megabytes < 1:
            raise UsageError(f"`--max-size` is `{self.max_megabytes}`; it takes 1 or more")
        if not MIN_SIDE <= self.max_side <= MAX_SIDE:
            raise UsageError(
                f"`--max-side` is `{self.max_side}`; it takes {MIN_SIDE} to {MAX_SIDE}"
            )


def build(comparison: Comparison, reporter: Reporter) -> list[str]:
    """Write the page; gives what to tell of it, one line each.

    Raises:
        UserError: A video cannot be read, they do not fit together, or the page cannot be written.
    """
    _check_output(comparison)
    reporter.begin(comparison.output.name)
    try:
        return _build(comparison, reporter)
    finally:
        reporter.end()


def _build(comparison: Comparison, reporter: Reporter) -> list[str]:
    reporter.stage("opening")
    reference = () if comparison.reference is None else (comparison.reference,)
    sources = open_sources((*reference, *comparison.videos))
    part = Part(start=comparison.start, duration=comparison.duration)
    size = common_size(sources, comparison.max_side)
    reporter.stage("measuring")
    expected = _expected_frames(sources, part)
    found = measure(sources, part, size, lambda done: reporter.advance(done, expected))
    if not found.times:
        raise UserError(
            "the videos have no moment in common", hint="look at `--start` and at their lengths"
        )
    compared = [source.label for source in sources[1:]]
    moments = find_moments(found, compared if len(compared) > 1 else [""])
    spans = choose_spans(found, moments, comparison.play_seconds)
    excerpts = _excerpts(comparison, sources, moments, spans, size, reporter)
    report = Report(
        sources=tuple(sources),
        has_reference=comparison.reference is not None,
        size=size,
        found=found,
        stride=measuring_stride(sources[0], part),
        moments=tuple(moments),
        spans=tuple(spans),
        excerpts=tuple(excerpts),
    )
    page = render(report).encode(errors="backslashreplace")
    write_report(comparison.output, page)
    return [
        f"wrote `{comparison.output}`, {len(page) / MEGABYTE:.1f} MB",
        *(f"  {line}" for line in [*_summary(report), *filter(None, [length_note(report)])]),
    ]


def _excerpts(
    comparison: Comparison,
    sources: Sequence[Source],
    moments: Sequence[Moment],
    spans: Sequence[Span],
    size: tuple[int, int],
    reporter: Reporter,
) -> list[Excerpt]:
    seconds = sum((span.stop - span.start for span in spans), Fraction(0))
    budget = Budget.of(
        comparison.max_megabytes * MEGABYTE,
        num_videos=len(sources),
        num_moments=len(moments),
        seconds=seconds,
    )
    total = round(sum(seconds * source.info.frame_rate for source in sources))
    reporter.end()  # its frames are counted anew
    reporter.begin(comparison.output.name)
    reporter.stage("encoding excerpts")
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        reporter.advance(done, total)

    excerpts = []
    with tempfile.TemporaryDirectory(prefix="diffst-compare-") as folder:
        for source in sources:
            excerpts.append(
                make_excerpt(
                    source,
                    spans,
                    moments,
                    size=size,
                    budget=budget,
                    work=Path(folder),
                    on_frame=count,
                )
            )
    return excerpts


def _expected_frames(sources: Sequence[Source], part: Part) -> int | None:
    length = stated_length(sources, part)
    return None if length is None else round(length * sources[0].info.frame_rate)


def _summary(report: Report) -> list[str]:
    """A line for each video compared: the means."""
    lines = []
    for source, series in zip(report.sources[1:], report.found.series, strict=True):
        psnr, ssim, flicker = (
            sum(values) / len(values) for values in (series.psnr, series.ssim, series.flicker)
        )
        lines.append(
            f"{source.label} against {report.sources[0].label}: "
            f"PSNR {psnr:.2f} dB, SSIM {ssim:.4f}, flicker {flicker:.2f}"
        )
    return lines


def _check_output(comparison: Comparison) -> None:
    """Refuse, before the work, a page that could not be written after it."""
    path = comparison.output
    inputs = [*comparison.videos, *([comparison.reference] if comparison.reference else [])]
    if is_one_of(path, inputs):
        raise UsageError(f"`{path}` is one of the videos", hint="give the page another name")
    check_report(path, "--output")
    if is_taken(path) and not comparison.overwrite:
        raise UsageError(f"`{path}` already exists", hint="add --overwrite to replace it")
