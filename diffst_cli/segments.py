"""A video's plan: the pieces it is made in, each of which can be made without the others.

A segment is a run of whole clips, closed at a cut where there is one. It knows where in the video
it stands, so making it takes the input, the settings and nothing else: a run that was stopped, many
GPUs and many machines are all the same list of segments. Inside a shot the fade from one clip to
the next needs both, so a segment that begins there makes the clip before its own once more.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from diffst_cli.clips import Clip, ClipRules, make_clips
from diffst_cli.timing import Timeline, TimelineState

if TYPE_CHECKING:
    from diffst_cli.pixels import Image
    from diffst_cli.reader import Frame

MIN_KEYFRAMES = 60  # in a segment, before a cut ends it
MAX_KEYFRAMES = 180  # after which the next clip begins another, cut or not


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One piece of the output, and all that making it takes to know about the rest."""

    index: int
    timeline: TimelineState
    """Before the first keyframe it reads."""
    first_time: Fraction
    """Of that keyframe, seconds on the source's clock."""
    stop_keyframe: int
    """Index after the last keyframe it reads."""
    cuts: tuple[int, ...]
    """Those among its keyframes that a cut is just before."""
    first_instant: int
    """Of the first clip it makes; less than `start` where that clip is only there to fade from."""
    shared: int
    """How many of that clip's moments the clip before has too."""
    start: int
    """Number of its first output frame."""
    stop: int
    """Number after its last output frame."""
    end: Fraction | None
    """When the video ends, seconds, where its last clips are cut by that."""
    digest: str
    """Of the times and pixels of all keyframes it reads, as decoding from the beginning gives them."""

    @property
    def first_keyframe(self) -> int:
        """Index of the first keyframe it reads."""
        return self.timeline.num_keyframes

    @property
    def origin(self) -> Fraction:
        """Time of the video's first keyframe, at which its output begins, seconds."""
        return self.timeline.first_time if self.first_keyframe else self.first_time


class KeyframeDigests:
    """Checksums of the last keyframes, to tell whether another decoding gives the same ones."""

    def __init__(self) -> None:
        self._sums: dict[int, int] = {}

    def add(self, frame: Frame) -> None:
        """Take the next keyframe."""
        self._sums[frame.index] = zlib.crc32(f"{frame.time}".encode(), _checksum(frame.image))

    def digest(self, start: int, stop: int) -> str:
        """One for the keyframes [start, stop), which were all added and not forgotten."""
        joined = b"".join(self._sums[index].to_bytes(4, "big") for index in range(start, stop))
        return hashlib.blake2b(joined, digest_size=16).hexdigest()

    def forget_before(self, index: int) -> None:
        """Drop what no later digest covers."""
        self._sums = {i: value for i, value in self._sums.items() if i >= index}


def _checksum(image: Image) -> int:
    import numpy as np

    return zlib.crc32(np.ascontiguousarray(image).data)


def plan_segments(
    frames: Iterable[tuple[Frame, bool]],
    timeline: Timeline,
    rules: ClipRules,
    end_of: Callable[[Frame], Fraction],
) -> Iterator[Segment]:
    """The segments of a whole video, each as soon as the next one's first clip is known.

    Args: as of `make_clips`, of whose clips the segments are made.
    """
    scan = _Scan(frames, timeline, end_of)
    clips = make_clips(scan.frames(), timeline, rules, scan.end_of)
    first = before = next(clips, None)
    if first is None or before is None:
        return
    most = min(MAX_KEYFRAMES, rules.segment_keyframes)
    least = min(MIN_KEYFRAMES, most)
    index, start = 0, 0
    stop_keyframe = scan.num_frames
    for clip in clips:
        num_keyframes = before.moments[-1].keyframe + 1 - first.moments[0].keyframe
        if num_keyframes >= (least if clip.starts_shot else most):
            yield scan.segment(index, first, start, clip.first_instant, stop_keyframe)
            index, start = index + 1, clip.first_instant
            first = before if clip.shared_before else clip
            scan.forget_before(first.frames[0].index)
        before, stop_keyframe = clip, scan.num_frames
    yield scan.segment(index, first, start, before.first_instant + before.num_owned, stop_keyframe)


class _Scan:
    """The keyframes as they pass: only what a later segment must know of them is kept."""

    def __init__(
        self,
        frames: Iterable[tuple[Frame, bool]],
        timeline: Timeline,
        end_of: Callable[[Frame], Fraction],
    ) -> None:
        self.num_frames = 0
        self._frames = frames
        self._timeline = timeline
        self._end_of = end_of
        self._end: Fraction | None = None
        self._digests = KeyframeDigests()
        self._states: dict[int, tuple[TimelineState, Fraction]] = {}
        self._cuts: list[int] = []

    def frames(self) -> Iterator[tuple[Frame, bool]]:
        """The keyframes without their pictures, noted down; the timeline follows one step behind."""
        import numpy as np

        nothing: Image = np.empty((0, 0, 3), np.uint8)
        for frame, starts_shot in self._frames:
            self._states[frame.index] = (self._timeline.state, frame.time)
            self._digests.add(frame)
            if starts_shot:
                self._cuts.append(frame.index)
            self.num_frames = frame.index + 1
            yield replace(frame, image=nothing), starts_shot

    def end_of(self, last: Frame) -> Fraction:
        """When the last frame stops being shown, seconds; noted down."""
        self._end = self._end_of(last)
        return self._end

    def segment(
        self, index: int, first: Clip, start: int, stop: int, stop_keyframe: int
    ) -> Segment:
        """The segment from the clip `first` on whose output frames are [start, stop)."""
        first_keyframe = first.frames[0].index
        state, time = self._states[first_keyframe]
        return Segment(
            index=index,
            timeline=state,
            first_time=time,
            stop_keyframe=stop_keyframe,
            cuts=tuple(cut for cut in self._cuts if first_keyframe <= cut < stop_keyframe),
            first_instant=first.first_instant,
            shared=first.shared_before,
            start=start,
            stop=stop,
            end=self._end,
            digest=self._digests.digest(first_keyframe, stop_keyframe),
        )

    def forget_before(self, index: int) -> None:
        """Drop what no later segment needs."""
        self._digests.forget_before(index)
        self._states = {i: state for i, state in self._states.items() if i >= index}
        self._cuts = [cut for cut in self._cuts if cut >= index]
