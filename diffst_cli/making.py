"""Making consecutive segments of a plan: reader -> clips -> model -> stitch -> writer, in three threads.

The reader and the writer each have a thread, joined by small bounded channels to the model, which
runs in the caller's: memory does not grow with the video, and decoding and encoding hide behind
the model. Between segments nothing stops: only the writer goes from one piece to the next.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from diffst_cli.channel import Channel, Worker
from diffst_cli.clips import Clip, make_clips
from diffst_cli.errors import UserError
from diffst_cli.job import UpscaleJob
from diffst_cli.pieces import Piece, PieceSettings, PieceWriter
from diffst_cli.segments import KeyframeDigests, Segment
from diffst_cli.shot_streams import ClipMaker
from diffst_cli.stages import Stages
from diffst_cli.stitch import OutputFrame, stitch
from diffst_cli.timing import Timeline
from diffst_cli.work import Work

if TYPE_CHECKING:
    from torch import Tensor

    from diffst.upscaler import UpscaleModel
    from diffst_cli.pixels import Image
    from diffst_cli.planner import RunPlan
    from diffst_cli.probe import VideoInfo
    from diffst_cli.reader import Frame, FrameReader

MANY = 2**31  # segments that may be announced before they are made
# Where a clip of a model that tells how far it is stands when a stage begins, and how far the stage takes it: about,
# since a network that denoises is asked dozens of times, and what is around it runs once. Nano has one stage.
CLIP_STAGES = {
    "encode": (0.0, 0.05),
    "denoise": (0.05, 0.9),
    "decode": (0.95, 0.05),
    "pictures": (0.0, 1.0),
    "tiles": (0.0, 1.0),
}


class InexactEntry(Exception):  # noqa: N818 - told to the caller, which reads from the beginning
    """Decoding from the middle of the input does not give the frames that decoding all of it gives."""


@dataclass(frozen=True, kw_only=True)
class Recipient:
    """Who is told how making goes; called from the writer's thread, or from several."""

    frames_written: Callable[[int, int], None]
    """With a segment's index, and how many frames of its piece there are by now."""
    piece_finished: Callable[[Piece], None]
    model_at: Callable[[str], None] = lambda _: None
    """With how far the model is with a clip, in words, while one takes long."""
    clip_at: Callable[[int, float], None] = lambda _number, _frames: None
    """Likewise with a worker's number, and about how many of the frames that its clip gives are done."""


class SegmentMaker:
    """Makes pieces of segments, with one model, into one folder."""

    def __init__(
        self,
        job: UpscaleJob,
        info: VideoInfo,
        model: UpscaleModel,
        plan: RunPlan,
        *,
        folder: Path,
        settings: PieceSettings,
        stages: Stages,
    ) -> None:
        """Take everything that is the same for all segments; `stages` counts the time."""
        self._job = job
        self._info = info
        self._model = model
        self._plan = plan
        self._folder = folder
        self._settings = settings
        self._stages = stages
        self._writer: PieceWriter | None = None
        self._clip_frames = 0  # that the clip at hand gives

    def make(
        self, segments: Iterator[Segment], recipient: Recipient, *, from_beginning: bool
    ) -> None:
        """Make the pieces of consecutive segments.

        Args:
            segments: One after another, each as soon as it is known; at least one.
            recipient: Told of each frame and piece.
            from_beginning: Whether to decode all of the input before the first segment, rather
                than to enter it there.

        Raises:
            InexactEntry: The input cannot be entered there; pieces finished before are good.
            UserError: A step failed.
        """
        self._watch(recipient)
        first = next(segments)
        decoded: Channel[tuple[Frame, bool]] = Channel(self._plan.queue_in)
        coming: Channel[Segment] = Channel(MANY)
        finished: Channel[tuple[Segment, OutputFrame]] = Channel(self._plan.queue_out)
        entry = _Entry(self._job, self._info, first, from_beginning=from_beginning)
        all_segments = itertools.chain([first], segments)
        with (
            Worker("writer", lambda: self._write(finished, recipient), finished) as writing,
            Worker("reader", lambda: self._read(entry, all_segments, coming, decoded), decoded),
            entry.reader,  # closed early, so that its thread does not wait for ffmpeg
            self._encoder_ended_on_error(),
        ):
            stops = {first.start}
            frames = self._frames(decoded, entry, first, stops)
            for segment in coming:
                stops.add(segment.stop)
                for frame in itertools.islice(frames, segment.stop - segment.start):
                    finished.put((segment, frame))
            finished.end()
            writing.finish()

    def _watch(self, recipient: Recipient) -> None:
        from diffst.upscaler import WatchedModel

        def tell(stage: str, done: int, total: int) -> None:
            recipient.model_at(f"{stage} {done}/{total}")
            recipient.clip_at(0, self._clip_frames * clip_share(stage, done, total))

        if isinstance(self._model, WatchedModel):
            self._model.watch(tell)

    def _frames(
        self, decoded: Iterable[tuple[Frame, bool]], entry: _Entry, first: Segment, stops: set[int]
    ) -> Iterator[OutputFrame]:
        """The output frames of `first` and what follows it; `stops` are as of `ClipMaker`."""
        clips = make_clips(
            decoded,
            new_timeline(self._job, first),
            self._plan.clip_rules,
            lambda _: entry.end,
            first_instant=first.first_instant,
            shared=first.shared,
        )
        width, height = self._plan.size
        clip_maker = ClipMaker(self._model, (height, width), self._stages, stops)
        frames = stitch(clip_maker.make(self._counted(clips, first.start)))
        # What comes before is of the clip that is only there to fade from.
        return itertools.islice(frames, first.start - first.first_instant, None)

    def _counted(self, clips: Iterable[Clip], start: int) -> Iterator[Clip]:
        """The same clips; of the first may count nothing, which is then only there to fade from."""
        for clip in clips:
            stop = clip.first_instant + clip.num_owned
            self._clip_frames = max(stop - max(clip.first_instant, start), 0)
            yield clip

    def _read(
        self,
        entry: _Entry,
        segments: Iterable[Segment],
        coming: Channel[Segment],
        decoded: Channel[tuple[Frame, bool]],
    ) -> None:
        frames = self._stages.timed_items("read", entry.frames())
        try:
            for segment in segments:
                coming.put(segment)
                for frame in entry.checked(frames, segment):
                    decoded.put((frame, frame.index in segment.cuts))
        except BaseException as error:
            coming.stop(error)
            raise
        coming.end()
        decoded.end()

    def _write(self, finished: Channel[tuple[Segment, OutputFrame]], recipient: Recipient) -> None:
        items = iter(finished)
        for segment, first_frame in items:
            frame = first_frame
            with PieceWriter(self._folder, segment.index, self._settings) as self._writer:
                for number in range(segment.start, segment.stop):
                    if number > segment.start:
                        _, frame = next(items)
                    with self._stages.timed("write"):
                        pixels = interleaved(frame.image)
                        self._writer.write(pixels, frame.time - segment.origin)
                    recipient.frames_written(segment.index, number + 1 - segment.start)
                with self._stages.timed("write"):
                    piece = self._writer.finish()
                recipient.piece_finished(piece)

    @contextmanager
    def _encoder_ended_on_error(self) -> Iterator[None]:
        """Inside, an error ends the running encoder, so that the writer does not wait for it."""
        try:
            yield
        except BaseException:
            if self._writer is not None:
                self._writer.stop()
            raise


def make_all(
    maker: SegmentMaker, work: Work, recipient: Recipient, warn: Callable[[str], None]
) -> None:
    """Make every piece that `work` lacks, in this process, while more segments may be found.

    Raises:
        UserError: A step failed.
    """
    from_beginning = False
    while True:
        try:
            for is_done, group in itertools.groupby(work.planned(), key=work.has):
                if not is_done:
                    maker.make(group, recipient, from_beginning=from_beginning)
            return
        except InexactEntry as error:
            from_beginning = True
            warn(str(error))


class _Entry:
    """A reader of the input from the first keyframe of a segment on, which proves that it is exact."""

    def __init__(
        self, job: UpscaleJob, info: VideoInfo, first: Segment, *, from_beginning: bool
    ) -> None:
        from diffst_cli.reader import read_frames

        self._info = info
        self._first = first
        self._is_middle = first.first_keyframe > 0 and not from_beginning
        self._next = first.first_keyframe
        self._digests = KeyframeDigests()
        self.end: Fraction = Fraction(0)
        """When the video ends, where the segments read so far say so."""
        self.reader: FrameReader
        if self._is_middle:
            self.reader = read_frames(info, start=first.first_time - info.origin_seconds)
        else:
            self.reader = read_frames(info, start=job.start, duration=job.duration)

    def frames(self) -> Iterator[Frame]:
        """Keyframes from the first one needed on, numbered as in the whole video."""
        if not self._is_middle:
            yield from itertools.islice(self.reader, self._first.first_keyframe, None)
            return
        for frame in self.reader:
            yield replace(frame, index=frame.index + self._first.first_keyframe)

    def checked(self, frames: Iterator[Frame], segment: Segment) -> Iterator[Frame]:
        """Those of the segment's keyframes that no segment before it had; a wrong one is not given.

        Raises:
            InexactEntry: They are others than those that decoding from the beginning gave.
            UserError: That happened although the beginning is where this reader came from.
        """
        self._digests.forget_before(segment.first_keyframe)
        if segment.end is not None:
            self.end = segment.end
        while self._next < segment.stop_keyframe:
            frame = self._take(frames)
            if frame is None or (
                frame.index == self._first.first_keyframe and not self._fits(frame)
            ):
                raise self._wrong()
            self._digests.add(frame)
            self._next += 1
            if self._next == segment.stop_keyframe:
                digest = self._digests.digest(segment.first_keyframe, segment.stop_keyframe)
                if digest != segment.digest:
                    raise self._wrong()
            yield frame

    def _take(self, frames: Iterator[Frame]) -> Frame | None:
        """The next frame, if there is one."""
        try:
            return next(frames, None)
        except UserError as error:
            if (
                self._is_middle
            ):  # a kind of file in which nothing can be found but from its beginning
                raise self._wrong() from error
            raise

    def _fits(self, frame: Frame) -> bool:
        return frame.time == self._first.first_time

    def _wrong(self) -> Exception:
        if self._is_middle:
            return InexactEntry(
                f"`{self._info.path}` cannot be entered exactly in its middle, "
                "so it is decoded from its beginning"
            )
        return UserError(
            f"`{self._info.path}` gave other frames than when it was read before",
            hint="if it was changed, add `--restart`",
        )


def new_timeline(job: UpscaleJob, segment: Segment | None) -> Timeline:
    """A job's timeline, from a segment on; None for the beginning."""
    return Timeline(
        fps=job.fps,
        fps_x=None if job.fps else job.rate_factor,
        state=segment.timeline if segment is not None else None,
    )


def interleaved(image: Tensor) -> Image:
    """(3, H, W) as (H, W, 3), copied without torch: its threads belong to the model."""
    import cv2

    pixels: Image = cv2.merge([*image.numpy()])
    return pixels


def clip_share(stage: str, done: int, total: int) -> float:
    """How much of a clip is done where a stage of it stands, in [0, 1]; 0 for a stage that is not known."""
    start, length = CLIP_STAGES.get(stage, (0.0, 0.0))
    return start + length * done / total
