"""When output frames are shown: exact instants in Fractions of a second, no rounding, no I/O."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

HALF = Fraction(1, 2)
SNAP = Fraction(1, 32)  # of an output frame; containers round times, so nearer than this is at it
LAST_SHARE = Fraction(
    1, 10
)  # of an output frame; what remains at the end must be longer to get one


@dataclass(frozen=True)
class Instant:
    """One output frame: where it lies between keyframes, and when it is shown."""

    keyframe: int
    """Index of the keyframe at or before it, or of the keyframe shown in its place at a cut."""
    alpha: Fraction
    """Position between that keyframe and the next, in [0, 1); 0 is the keyframe itself."""
    time: Fraction
    """Seconds on the source's clock."""


@dataclass(frozen=True, kw_only=True)
class TimelineState:
    """Where a timeline stands between two keyframes: enough to go on from there."""

    first_time: Fraction
    """Of the first keyframe, seconds; 0 before it."""
    last_time: Fraction
    """Of the last keyframe added, seconds; 0 before the first."""
    num_keyframes: int
    """Added so far."""
    num_instants: int
    """Given out so far."""


class Timeline:
    """Turns keyframe times, fed one by one, into output instants, in order and each once.

    With `fps_x`, instant i sits at position i / fps_x counted in keyframes, so a variable rate stays
    variable. With `fps`, it sits at the first keyframe's time + i / fps, whatever the source does.
    Nothing is predicted across a cut: instants there take the nearer keyframe.
    """

    def __init__(
        self,
        *,
        fps_x: Fraction | None = None,
        fps: Fraction | None = None,
        state: TimelineState | None = None,
    ) -> None:
        """Start a timeline.

        Args:
            fps_x: Output frames for each keyframe, at least 1.
            fps: Output frames a second; instead of `fps_x`.
            state: Of a timeline of the same rate, to go on from; None starts at the first keyframe.

        Raises:
            ValueError: Not exactly one is given, or it is out of range.
        """
        if (fps_x is None) == (fps is None):
            raise ValueError(f"need either fps_x or fps, not {fps_x} and {fps}")
        if (fps_x is not None and fps_x < 1) or (fps is not None and fps <= 0):
            raise ValueError(f"rate out of range: fps_x {fps_x}, fps {fps}")
        self._fps_x = fps_x
        self._fps = fps
        self._first_time = state.first_time if state else Fraction(0)
        self._last_time = state.last_time if state else Fraction(0)
        self._num_keyframes = state.num_keyframes if state else 0
        self._num_instants = state.num_instants if state else 0

    @property
    def state(self) -> TimelineState:
        """Where it stands now."""
        return TimelineState(
            first_time=self._first_time,
            last_time=self._last_time,
            num_keyframes=self._num_keyframes,
            num_instants=self._num_instants,
        )

    @property
    def num_instants(self) -> int:
        """Instants given out so far."""
        return self._num_instants

    def add(self, time: Fraction, *, starts_shot: bool = False) -> list[Instant]:
        """The instants that the next keyframe settles: those before it and not before the last one.

        Args:
            time: Of the keyframe, seconds.
            starts_shot: Whether there is a cut just before it.

        Raises:
            ValueError: `time` is not later than the keyframe's before.
        """
        if self._num_keyframes == 0:
            self._first_time = time
        elif time <= self._last_time:
            raise ValueError(f"keyframe at {time} s does not come after {self._last_time} s")
        before, newest = self._num_keyframes - 1, self._num_keyframes
        settled: list[Instant] = []
        if before >= 0:
            margin = HALF if starts_shot else self._snap_margin(time - self._last_time)
            for alpha, moment in self._between(before, self._last_time, time):
                if margin < alpha < 1 - margin:
                    settled.append(Instant(before, alpha, moment))
                else:
                    shown = before if alpha < HALF else newest
                    settled.append(Instant(shown, Fraction(0), moment))
        self._last_time = time
        self._num_keyframes += 1
        self._num_instants += len(settled)
        return settled

    def finish(self, end: Fraction) -> list[Instant]:
        """The instants from the last keyframe on; it is held until `end`, so all have alpha 0.

        Args:
            end: When the last keyframe stops being shown, seconds.

        Raises:
            ValueError: `end` is not later than the last keyframe.
        """
        if self._num_keyframes == 0:
            return []
        if end <= self._last_time:
            raise ValueError(f"end at {end} s does not come after {self._last_time} s")
        last = self._num_keyframes - 1
        held = [
            Instant(last, Fraction(0), moment)
            for _, moment in self._between(last, self._last_time, end)
        ]
        if self._fps_x is not None:
            total = math.floor(self._num_keyframes * self._fps_x + HALF)
            held = held[: total - self._num_instants]
        elif self._num_instants + len(held) > 1 and held and self._is_sliver(end - held[-1].time):
            held.pop()
        self._num_instants += len(held)
        return held

    def _between(
        self, index: int, time: Fraction, next_time: Fraction
    ) -> Iterator[tuple[Fraction, Fraction]]:
        """(alpha, time) of the instants from keyframe `index` at `time` up to `next_time`."""
        step = next_time - time
        number = self._num_instants
        while True:
            if self._fps_x is not None:
                alpha = number / self._fps_x - index
                moment = time + alpha * step
            else:
                assert self._fps is not None
                moment = self._first_time + number / self._fps
                alpha = (moment - time) / step
            if alpha >= 1:
                return
            yield alpha, moment
            number += 1

    def _snap_margin(self, step: Fraction) -> Fraction:
        """How near to a keyframe alpha counts as at it, with keyframes `step` seconds apart."""
        if self._fps is None:
            return Fraction(0)
        return SNAP * min(Fraction(1), 1 / (self._fps * step))

    def _is_sliver(self, remaining: Fraction) -> bool:
        return self._fps is not None and remaining * self._fps <= LAST_SHARE
