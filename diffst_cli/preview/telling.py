"""Which seconds of a video tell most about an upscaler."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from diffst_cli.preview.features import Features, look
from diffst_cli.probe import VideoInfo
from diffst_cli.reader import nothing_there, read_frames

NUM_MOMENTS = 6
SECONDS = Fraction(1)  # of each moment
WHOLE_SECONDS = 90  # of a video that is looked at whole
NUM_SAMPLES = 45  # of a longer one: stretches at even distances
SAMPLE_SECONDS = Fraction(2)
DARK = 60.0  # of 255: a moment with a lower mean is dark
BLACK_CONTRAST = 5.0  # of 255: below this there is nothing to see
TEXT = 0.004  # of the picture
MOTION = 0.1  # of 255: below this mean change nothing moves
DETAIL = 0.5  # of 255: below this mean strength of edges there are none
STEPS = 4  # windows begin this often in a moment's length


@dataclass(frozen=True, kw_only=True)
class Telling:
    """A moment worth showing, of `SECONDS`."""

    start: Fraction
    """Seconds on the source's clock; a frame begins there."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class Window:
    """A second of the video, and what it is like."""

    start: Fraction
    frames: tuple[Features, ...]

    @property
    def cut(self) -> float | None:
        """How far its cut is from the middle, 0 to 1; None unless there is exactly one."""
        cuts = [frame.time for frame in self.frames[1:] if frame.starts_shot]
        if len(cuts) != 1:
            return None
        return abs(float((cuts[0] - self.start) / SECONDS) - 0.5) * 2

    def mean(self, name: str) -> float:
        """The mean of one feature."""
        return statistics.fmean(getattr(frame, name) for frame in self.frames)


def find_telling(
    info: VideoInfo,
    start: Fraction | None,
    duration: Fraction | None,
    on_seconds: Callable[[float, float], None],
) -> list[Telling]:
    """Up to six moments that do not overlap, in order of time.

    Args:
        info: The video.
        start: Where to begin looking, seconds from the video's beginning.
        duration: How much to look at, seconds.
        on_seconds: Told how many seconds of how many are looked at.

    Raises:
        UserError: The video cannot be read.
    """
    parts = plan_parts(info, start, duration)
    total = float(sum((length or 0 for _, length in parts), Fraction(0)))
    windows: list[Window] = []
    for number, (begin, length) in enumerate(parts):
        seen: list[Features] = []
        with read_frames(info, start=begin, duration=length) as reader:
            for features in look(reader):
                seen.append(features)
                done = float(features.time - seen[0].time)
                on_seconds(number * float(length or 0) + done, max(total, done))
        windows += cut_windows(seen, 1 / info.frame_rate)
    if not windows:
        raise nothing_there(info)
    return choose(windows)


def plan_parts(
    info: VideoInfo, start: Fraction | None, duration: Fraction | None
) -> list[tuple[Fraction | None, Fraction | None]]:
    """(start, duration) of what is looked at: all of a short video, samples of a long one."""
    length = info.duration_seconds
    if length is not None:
        length = length - (start or 0)
        length = length if duration is None else min(length, duration)
    if length is None or length <= WHOLE_SECONDS:
        return [(start, duration)]
    last = length - SAMPLE_SECONDS
    places = (last * index / (NUM_SAMPLES - 1) for index in range(NUM_SAMPLES))
    return [((start or Fraction(0)) + place, SAMPLE_SECONDS) for place in places]


def cut_windows(seen: Sequence[Features], step: Fraction) -> list[Window]:
    """Windows of a second, a quarter of a second apart; of a short video, side by side.

    A video of less than a second is one window.

    Args:
        seen: Frames in a row.
        step: Seconds for which the last one is shown.
    """
    if not seen:
        return []
    end = seen[-1].time + step
    is_short = end - seen[0].time <= NUM_MOMENTS * SECONDS  # where none can be left out
    apart = SECONDS if is_short else SECONDS / STEPS
    windows: list[Window] = []
    following = seen[0].time
    for index, features in enumerate(seen):
        if end - features.time < SECONDS - step / 2:
            break
        if features.time >= following:
            stop = features.time + SECONDS
            frames = tuple(one for one in seen[index:] if one.time < stop)
            windows.append(Window(start=features.time, frames=frames))
            following += apart * ((features.time - following) // apart + 1)
    return windows or [Window(start=seen[0].time, frames=tuple(seen))]


def choose(windows: Sequence[Window]) -> list[Telling]:
    """The most telling windows, one of each kind that there is, then usual ones."""
    chosen: list[tuple[Window, str]] = []

    def is_free(window: Window) -> bool:
        return all(abs(window.start - other.start) >= SECONDS for other, _ in chosen)

    for reason, score in KINDS:
        scored = [(score(window), window) for window in windows if is_free(window)]
        known = [(value, window) for value, window in scored if value is not None]
        if known:
            chosen.append((max(known, key=lambda pair: pair[0])[1], reason))
    while len(chosen) < NUM_MOMENTS:
        free = [window for window in windows if is_free(window)]
        if not free:
            break
        begun = [other.start for other, _ in chosen] or [free[0].start]
        far = max(free, key=lambda window: min(abs(window.start - start) for start in begun))
        chosen.append((far, "a usual moment"))
    return [
        Telling(start=window.start, reason=reason)
        for window, reason in sorted(chosen, key=lambda pair: pair[0].start)
    ]


def _cut(window: Window) -> float | None:
    return None if window.cut is None or window.cut > 0.5 else -window.cut


def _movement(window: Window) -> float | None:
    movement = window.mean("movement")
    return movement if movement >= MOTION and _is_one_shot(window) else None


def _stillness(window: Window) -> float | None:
    return -window.mean("movement") if _is_one_shot(window) and _is_visible(window) else None


def _darkness(window: Window) -> float | None:
    brightness = window.mean("brightness")
    return -brightness if brightness < DARK and _is_visible(window) else None


def _text(window: Window) -> float | None:
    share = window.mean("text")
    return share if share >= TEXT else None


def _detail(window: Window) -> float | None:
    detail = window.mean("detail")
    return detail if detail >= DETAIL else None


def _is_one_shot(window: Window) -> bool:
    return not any(frame.starts_shot for frame in window.frames[1:])


def _is_visible(window: Window) -> bool:
    return min(frame.contrast for frame in window.frames) >= BLACK_CONTRAST


KINDS: tuple[tuple[str, Callable[[Window], float | None]], ...] = (
    ("a cut", _cut),
    ("fast motion", _movement),
    ("text or hard edges", _text),
    ("dark", _darkness),
    ("fine detail", _detail),
    ("hardly any motion", _stillness),
)
"""What to look for, in this order, and how well a window shows it; None is not at all."""
