"""What `diffst evaluate` measured, its means over clips, and the columns of its tables."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

# Student's t at 97.5 %, for 1 to 30 degrees of freedom; a series beyond.
T_QUANTILES = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
NORMAL_QUANTILE = 1.959964


Series = tuple[float, ...]  # one number a frame, or one for each frame but the first


@dataclass(frozen=True, kw_only=True)
class ClipScore:
    """One system's output for one degraded clip, frame by frame."""

    track: str
    """How the input was degraded."""
    clip: str
    """Name of the reference."""
    system: str
    """Name of the upscaler."""
    num_frames: int
    """Frames compared."""
    series: Mapping[str, Series]
    """What was measured, by the names that `COLUMNS` reads; NaN where a metric is not defined."""
    frames_per_second: float = math.nan
    """Output frames over the seconds of the whole job; NaN if it was not run now."""
    cpu_seconds_per_frame: float = math.nan
    """Seconds of all cores for one output frame; NaN if it was not run now."""
    peak_bytes: float = math.nan
    """Most memory the job held; NaN if it was not run now."""

    def first(self, num_frames: int) -> "ClipScore":
        """The same clip as if it ended after `num_frames` frames."""
        dropped = self.num_frames - num_frames
        series = {key: values[: len(values) - dropped] for key, values in self.series.items()}
        return replace(self, num_frames=num_frames, series=series)


@dataclass(frozen=True, kw_only=True)
class Column:
    """One number of a clip, and how it is shown."""

    key: str
    """Name in CSV and JSON."""
    title: str
    """Heading of the printed table."""
    digits: int
    """Decimals shown."""
    value: Callable[[ClipScore], float]
    """The number, from the frames of one clip; NaN if it is not known."""
    series: str | None = None
    """The series it is made of; None for a cost."""
    higher_is_better: bool = True
    """Whether the worst clip is the lowest."""


def _mean_of(series: str, frames: slice) -> Callable[[ClipScore], float]:
    """The mean over some frames of a series."""

    def value(score: ClipScore) -> float:
        values = score.series.get(series, ())[frames]
        return fmean(values) if values else math.nan

    return value


def _by_frames(
    series: str, title: str, digits: int, *, has_all: bool = False, higher_is_better: bool = True
) -> list[Column]:
    """Columns of a metric of frames: even frames were in the input ("kept"), odd ones are new."""
    key = series.removesuffix("_y")
    parts = [("_kept", " kept", slice(0, None, 2)), ("_new", " new", slice(1, None, 2))]
    if has_all:
        parts.append(("", " all", slice(None)))
    return [
        Column(
            key=key + suffix,
            title=title + word,
            digits=digits,
            value=_mean_of(series, frames),
            series=series,
            higher_is_better=higher_is_better,
        )
        for suffix, word, frames in parts
    ]


def _error(key: str, series: str, title: str) -> Column:
    """The column of an error between neighbouring frames."""
    value = _mean_of(series, slice(None))
    return Column(
        key=key, title=title, digits=3, value=value, series=series, higher_is_better=False
    )


def _cost(key: str, title: str, digits: int, value: Callable[[ClipScore], float]) -> Column:
    return Column(key=key, title=title, digits=digits, value=value)


COLUMNS = (
    *_by_frames("psnr_y", "PSNR-Y", 2, has_all=True),
    *_by_frames("ssim", "SSIM", 4),
    *_by_frames("ms_ssim", "MS-SSIM", 4),
    *_by_frames("vmaf", "VMAF", 2, has_all=True),
    *_by_frames("lpips", "LPIPS", 4, higher_is_better=False),
    *_by_frames("dists", "DISTS", 4, higher_is_better=False),
    *_by_frames("clip-iqa", "CLIP-IQA", 4),
    *_by_frames("musiq", "MUSIQ", 2),
    *_by_frames("maniqa", "MANIQA", 4),
    _error("frame_difference_error", "frame_difference", "frame diff."),
    _error("warping_error", "warping", "warping"),
    _error("true_warping_error", "true_warping", "true warping"),
    _error("tof", "tof", "tOF"),
    _error("tlp", "tlp", "tLP"),
    _cost("frames_per_second", "frames/s", 2, lambda score: score.frames_per_second),
    _cost("cpu_seconds_per_frame", "CPU s/frame", 3, lambda score: score.cpu_seconds_per_frame),
    _cost("peak_gb", "peak GB", 2, lambda score: score.peak_bytes / 1e9),
)


def columns_of(scores: Sequence[ClipScore]) -> tuple[Column, ...]:
    """The columns of what was measured, and of the costs."""
    measured = {key for score in scores for key in score.series}
    return tuple(column for column in COLUMNS if column.series is None or column.series in measured)


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean over clips."""

    mean: float
    """The mean; NaN, as the others, if a value is not known."""
    half_width: float
    """Half the 95 % confidence interval; infinite for a single clip."""
    lowest: float
    """The smallest of the values."""
    highest: float
    """The largest of the values."""


def student_quantile(freedom: int) -> float:
    """Student's t at 97.5 %, to four digits; beyond the table by Abramowitz and Stegun's series 26.7.5."""
    if freedom <= len(T_QUANTILES):
        return T_QUANTILES[freedom - 1]
    z = NORMAL_QUANTILE
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def confidence(values: Sequence[float]) -> Interval:
    """Mean of independent values with its 95 % confidence interval (Student's t).

    All is NaN if a value is: a mean over some clips cannot be held against one over all.
    """
    if any(map(math.isnan, values)):
        return Interval(mean=math.nan, half_width=math.nan, lowest=math.nan, highest=math.nan)
    freedom = len(values) - 1
    half_width = math.inf
    if freedom > 0:
        half_width = student_quantile(freedom) * stdev(values) / math.sqrt(len(values))
    return Interval(
        mean=fmean(values), half_width=half_width, lowest=min(values), highest=max(values)
    )


def trim_to_common(scores: Iterable[ClipScore]) -> list[ClipScore]:
    """The same scores, over the frames that every system gave for that track and clip."""
    scores = list(scores)
    shortest: dict[tuple[str, str], int] = {}
    for score in scores:
        key = score.track, score.clip
        shortest[key] = min(score.num_frames, shortest.get(key, score.num_frames))
    return [score.first(shortest[score.track, score.clip]) for score in scores]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Means over the clips of one track."""

    track: str
    """How the inputs were degraded."""
    system: str
    """Name of the upscaler, or of a difference of two."""
    intervals: tuple[Interval, ...]
    """One for each column."""
    columns: tuple[Column, ...]
    """What was averaged."""


def summarise(scores: Sequence[ClipScore]) -> list[Summary]:
    """Means over clips, for each track and system, of every column."""
    columns = columns_of(scores)
    return [
        Summary(
            track=track,
            system=system,
            columns=columns,
            intervals=_over_clips([_values(score, columns) for score in group]),
        )
        for (track, system), group in _groups(scores)
    ]


def summarise_gains(scores: Sequence[ClipScore], system: str) -> list[Summary]:
    """Means over clips of what `system` gains in quality on each other one, clip by clip."""
    columns = tuple(column for column in columns_of(scores) if column.series is not None)
    own = {(score.track, score.clip): score for score in scores if score.system == system}

    def gains(score: ClipScore) -> list[float]:
        mine = _values(own[score.track, score.clip], columns)
        return [a - b for a, b in zip(mine, _values(score, columns), strict=True)]

    return [
        Summary(
            track=track,
            system=f"{system} - {other}",
            columns=columns,
            intervals=_over_clips([gains(score) for score in group]),
        )
        for (track, other), group in _groups(scores)
        if other != system
    ]


def _groups(scores: Sequence[ClipScore]) -> list[tuple[tuple[str, str], list[ClipScore]]]:
    """Scores by (track, system), in the order met."""
    groups: dict[tuple[str, str], list[ClipScore]] = {}
    for score in scores:
        groups.setdefault((score.track, score.system), []).append(score)
    return list(groups.items())


def _values(score: ClipScore, columns: Sequence[Column]) -> list[float]:
    """The numbers of one clip, one for each column."""
    return [column.value(score) for column in columns]


def _over_clips(rows: Sequence[Sequence[float]]) -> tuple[Interval, ...]:
    """The mean over clips of each column, from one row a clip."""
    return tuple(confidence(values) for values in zip(*rows, strict=True))
