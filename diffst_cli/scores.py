"""What `diffst evaluate` measured, its means over clips, and its tables."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev

# Student's t at 97.5 %, for 1 to 30 degrees of freedom; the normal value beyond.
T_QUANTILES = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
NORMAL_QUANTILE = 1.960


@dataclass(frozen=True, kw_only=True)
class ClipScore:
    """One system's output for one degraded clip, frame by frame."""

    track: str
    """How the input was degraded."""
    clip: str
    """Name of the reference."""
    system: str
    """Name of the upscaler."""
    psnr_y: tuple[float, ...]
    """dB, one per frame."""
    ssim: tuple[float, ...]
    """One per frame, of the luma."""
    vmaf: tuple[float, ...]
    """0 to 100, one per frame."""
    frame_difference: tuple[float, ...]
    """Error of the change since the frame before, 8-bit levels; none for the first frame."""
    warping: tuple[float, ...]
    """Change along the true motion, 8-bit levels; none for the first frame."""
    true_warping: tuple[float, ...]
    """The reference's own `warping`."""
    frames_per_second: float = math.nan
    """Output frames over the seconds of the whole job; NaN if it was not run now."""
    cpu_seconds_per_frame: float = math.nan
    """Seconds of all cores for one output frame; NaN if it was not run now."""
    peak_bytes: float = math.nan
    """Most memory the job held; NaN if it was not run now."""

    @property
    def num_frames(self) -> int:
        """Frames compared."""
        return len(self.psnr_y)

    def first(self, num_frames: int) -> "ClipScore":
        """The same clip as if it ended after `num_frames` frames."""
        pairs = num_frames - 1
        return replace(
            self,
            psnr_y=self.psnr_y[:num_frames],
            ssim=self.ssim[:num_frames],
            vmaf=self.vmaf[:num_frames],
            frame_difference=self.frame_difference[:pairs],
            warping=self.warping[:pairs],
            true_warping=self.true_warping[:pairs],
        )


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
    """The number, from the frames of one clip."""
    higher_is_better: bool = True
    """Whether the worst clip is the lowest."""
    is_quality: bool = True
    """Whether it belongs in a table of gains."""


def _column(key: str, title: str, digits: int, value: Callable[[ClipScore], float]) -> Column:
    return Column(key=key, title=title, digits=digits, value=value)


def _error_column(key: str, title: str, value: Callable[[ClipScore], float]) -> Column:
    return Column(key=key, title=title, digits=3, value=value, higher_is_better=False)


def _cost_column(key: str, title: str, digits: int, value: Callable[[ClipScore], float]) -> Column:
    return Column(key=key, title=title, digits=digits, value=value, is_quality=False)


# Even frames were in the input ("kept"), odd ones are predicted ("new").
COLUMNS = (
    _column("psnr_kept", "PSNR-Y kept", 2, lambda s: mean(s.psnr_y[::2])),
    _column("psnr_new", "PSNR-Y new", 2, lambda s: mean(s.psnr_y[1::2])),
    _column("psnr", "PSNR-Y all", 2, lambda s: mean(s.psnr_y)),
    _column("ssim_kept", "SSIM kept", 4, lambda s: mean(s.ssim[::2])),
    _column("ssim_new", "SSIM new", 4, lambda s: mean(s.ssim[1::2])),
    _column("vmaf_kept", "VMAF kept", 2, lambda s: mean(s.vmaf[::2])),
    _column("vmaf_new", "VMAF new", 2, lambda s: mean(s.vmaf[1::2])),
    _column("vmaf", "VMAF all", 2, lambda s: mean(s.vmaf)),
    _error_column("frame_difference_error", "frame diff.", lambda s: mean(s.frame_difference)),
    _error_column("warping_error", "warping", lambda s: mean(s.warping)),
    _error_column("true_warping_error", "true warping", lambda s: mean(s.true_warping)),
    _cost_column("frames_per_second", "frames/s", 2, lambda s: s.frames_per_second),
    _cost_column("cpu_seconds_per_frame", "CPU s/frame", 3, lambda s: s.cpu_seconds_per_frame),
    _cost_column("peak_gb", "peak GB", 2, lambda s: s.peak_bytes / 1e9),
)


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


def confidence(values: Sequence[float]) -> Interval:
    """Mean of independent values with its 95 % confidence interval (Student's t).

    All is NaN if a value is: a mean over some clips cannot be held against one over all.
    """
    if any(map(math.isnan, values)):
        return Interval(mean=math.nan, half_width=math.nan, lowest=math.nan, highest=math.nan)
    freedom = len(values) - 1
    half_width = math.inf
    if freedom > 0:
        quantile = T_QUANTILES[freedom - 1] if freedom <= len(T_QUANTILES) else NORMAL_QUANTILE
        half_width = quantile * stdev(values) / math.sqrt(len(values))
    return Interval(
        mean=mean(values), half_width=half_width, lowest=min(values), highest=max(values)
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
    """One for each of `COLUMNS`."""


def summarise(scores: Sequence[ClipScore]) -> list[Summary]:
    """Means over clips, for each track and system."""
    return [
        Summary(track=track, system=system, intervals=_over_clips(group, _values))
        for (track, system), group in _groups(scores)
    ]


def summarise_gains(scores: Sequence[ClipScore], system: str) -> list[Summary]:
    """Means over clips of what `system` gains on each other one, clip by clip."""
    own = {(score.track, score.clip): score for score in scores if score.system == system}

    def gains(score: ClipScore) -> list[float]:
        pairs = zip(_values(own[score.track, score.clip]), _values(score), strict=True)
        return [mine - theirs for mine, theirs in pairs]

    return [
        Summary(track=track, system=f"{system} - {other}", intervals=_over_clips(group, gains))
        for (track, other), group in _groups(scores)
        if other != system
    ]


def _groups(scores: Sequence[ClipScore]) -> list[tuple[tuple[str, str], list[ClipScore]]]:
    """Scores by (track, system), in the order met."""
    groups: dict[tuple[str, str], list[ClipScore]] = {}
    for score in scores:
        groups.setdefault((score.track, score.system), []).append(score)
    return list(groups.items())


def _values(score: ClipScore) -> list[float]:
    """The numbers of one clip, one for each of `COLUMNS`."""
    return [column.value(score) for column in COLUMNS]


def _over_clips(
    group: Sequence[ClipScore], measure: Callable[[ClipScore], list[float]]
) -> tuple[Interval, ...]:
    """The mean over a group of each number that `measure` gives."""
    return tuple(confidence(values) for values in zip(*map(measure, group), strict=True))
