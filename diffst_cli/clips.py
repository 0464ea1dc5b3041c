"""Frames become clips: runs of output moments of one shot, with the keyframes a model needs for them.

Neighbouring clips of a shot share moments; `stitch` fades from one clip's to the other's. A shared
moment lies between the same pair of keyframes in both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffst_cli.reader import Frame
    from diffst_cli.timing import Instant, Timeline


@dataclass(frozen=True, kw_only=True)
class ClipRules:
    """How long clips are; from the model's rules and the memory there is."""

    clip_keyframes: int
    """Most keyframes between which one clip's moments lie."""
    overlap_keyframes: int
    """Keyframes whose moments neighbouring clips share."""
    context_keyframes: int
    """Keyframes on each side that the model sees beyond those, where the shot has them."""
    max_moments: int
    """Most moments in one clip; bounds memory when many new frames lie between two keyframes."""
    segment_keyframes: int
    """Keyframes after which a segment ends with the next clip, cut or not; bounds what an interrupt loses."""

    def __post_init__(self) -> None:
        if min(self.clip_keyframes, self.max_moments, self.segment_keyframes) < 1:
            raise ValueError(f"clips of nothing: {self}")
        if self.overlap_keyframes < 0 or self.context_keyframes < 0:
            raise ValueError(f"negative overlap or context: {self}")


@dataclass(frozen=True, kw_only=True)
class Moment:
    """One picture to make, and the times at which it is shown."""

    keyframe: int
    """Index of the keyframe at or before it, in the whole video."""
    alpha: Fraction
    """Where it lies between that keyframe and the next, in [0, 1)."""
    times: tuple[Fraction, ...]
    """In seconds, rising; several when a picture is held, as before a cut."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """What one model call makes."""

    frames: tuple[Frame, ...]
    """Keyframes in a row, of one shot, context included."""
    moments: tuple[Moment, ...]
    """What to make, in order; every pair of keyframes they lie between is in `frames`."""
    shared_before: int
    """How many of the first moments the clip before also has."""
    shared_after: int
    """How many of the last moments the clip after also has."""
    first_instant: int
    """Number of its first moment's first instant, counted over the whole video."""
    starts_shot: bool
    """Whether it is the first after a cut."""

    @property
    def num_owned(self) -> int:
        """How many instants it has that the clip after does not."""
        owned = self.moments[: len(self.moments) - self.shared_after]
        return sum(len(moment.times) for moment in owned)

    @property
    def positions(self) -> list[tuple[int, float]]:
        """Each moment as (index into `frames`, alpha), as a model takes them."""
        first = self.frames[0].index
        return [(moment.keyframe - first, float(moment.alpha)) for moment in self.moments]


def make_clips(
    frames: Iterable[tuple[Frame, bool]],
    timeline: Timeline,
    rules: ClipRules,
    end_of: Callable[[Frame], Fraction],
    *,
    first_instant: int = 0,
    shared: int = 0,
) -> Iterator[Clip]:
    """Clips of a video, or of its part from some clip on, each as soon as its frames are there.

    A part's clips are those that the whole video has from there on.

    Args:
        frames: Keyframes in order with consecutive indices, and whether a cut is just before; from
            the first frame of the first clip wanted.
        timeline: As it stands before the first of `frames`.
        rules: How long clips are.
        end_of: When a frame, if it is the last, stops being shown, seconds.
        first_instant: `Clip.first_instant` of the first clip wanted.
        shared: `Clip.shared_before` of the first clip wanted.
    """
    shot = _Shot(rules, first_instant, shared)
    last: Frame | None = None
    for frame, starts_shot in frames:
        number = timeline.num_instants
        settled = timeline.add(frame.time, starts_shot=starts_shot)[
            max(first_instant - number, 0) :
        ]
        if starts_shot:
            before = [instant for instant in settled if instant.keyframe < frame.index]
            shot.add_instants(before)
            yield from shot.finish()
            settled = settled[len(before) :]
            start = timeline.num_instants - len(settled)
            if start >= first_instant:
                shot = _Shot(rules, start, starts_shot=True)
            else:  # what is wanted begins later in this shot
                shot = _Shot(rules, first_instant, shared)
        shot.add_frame(frame)
        shot.add_instants(settled)
        yield from shot.ready()
        last = frame
    if last is not None:
        number = timeline.num_instants
        shot.add_instants(timeline.finish(end_of(last))[max(first_instant - number, 0) :])
        yield from shot.finish()


class _Shot:
    """The keyframes and moments of the shot being read that later clips still need."""

    def __init__(
        self, rules: ClipRules, first_instant: int, shared: int = 0, *, starts_shot: bool = False
    ) -> None:
        self._rules = rules
        self._frames: list[Frame] = []
        self._moments: list[Moment] = []
        self._shared = shared  # how many of the first moments the clip before already has
        self._first_instant = first_instant  # of the first moment
        self._starts_shot = starts_shot

    def add_frame(self, frame: Frame) -> None:
        """Adds the next keyframe; while nothing is to be made, only the newest are kept."""
        if not self._moments:
            self._forget_frames_before(frame.index - 1 - self._rules.context_keyframes)
        self._frames.append(frame)

    def add_instants(self, instants: Iterable[Instant]) -> None:
        """Adds moments; instants at the same position become one moment with several times."""
        for instant in instants:
            times: tuple[Fraction, ...] = (instant.time,)
            if self._moments:
                newest = self._moments[-1]
                if (newest.keyframe, newest.alpha) == (instant.keyframe, instant.alpha):
                    times = newest.times + times
                    self._moments.pop()
            self._moments.append(
                Moment(keyframe=instant.keyframe, alpha=instant.alpha, times=times)
            )

    def ready(self) -> Iterator[Clip]:
        """Clips that have all they need, and are not the last of the shot."""
        context = max(self._rules.context_keyframes, 1)
        while self._moments:
            stop = self._find_stop()
            newest = self._frames[-1].index
            is_complete = stop < len(self._moments) or newest > self._limit()
            if not is_complete or newest < self._moments[stop - 1].keyframe + context:
                return
            yield self._cut_off(stop)

    def finish(self) -> Iterator[Clip]:
        """The shot's remaining clips."""
        while self._moments:
            yield self._cut_off(self._find_stop())

    def _find_stop(self) -> int:
        """How many moments the next clip has."""
        limit = self._limit()
        outside = (i for i, moment in enumerate(self._moments) if moment.keyframe >= limit)
        return min(next(outside, len(self._moments)), self._rules.max_moments)

    def _limit(self) -> int:
        """The first keyframe that the next clip's moments do not reach."""
        return self._moments[0].keyframe + self._rules.clip_keyframes

    def _cut_off(self, stop: int) -> Clip:
        """The clip of the first `stop` moments; forgets what no later clip needs."""
        moments = tuple(self._moments[:stop])
        is_last = stop == len(self._moments)
        shared_after = 0 if is_last else self._count_shared(moments)
        clip = Clip(
            frames=self._frames_around(moments),
            moments=moments,
            shared_before=self._shared,
            shared_after=shared_after,
            first_instant=self._first_instant,
            starts_shot=self._starts_shot,
        )
        self._first_instant += clip.num_owned
        self._starts_shot = False
        self._moments = self._moments[stop - shared_after :]
        self._shared = shared_after
        if self._moments:
            self._forget_frames_before(self._moments[0].keyframe - self._rules.context_keyframes)
        return clip

    def _count_shared(self, moments: Sequence[Moment]) -> int:
        """How many of a clip's last moments the next clip has too; never those shared before."""
        first_shared = moments[-1].keyframe + 1 - self._rules.overlap_keyframes
        wanted = sum(moment.keyframe >= first_shared for moment in moments)
        return min(wanted, len(moments) // 2, len(moments) - self._shared)

    def _frames_around(self, moments: Sequence[Moment]) -> tuple[Frame, ...]:
        context = self._rules.context_keyframes
        start = moments[0].keyframe - context
        stop = moments[-1].keyframe + 1 + max(context, 1)
        return tuple(frame for frame in self._frames if start <= frame.index < stop)

    def _forget_frames_before(self, index: int) -> None:
        self._frames = [frame for frame in self._frames if frame.index >= index]
