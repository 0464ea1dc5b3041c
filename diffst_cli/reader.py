"""Decoded frames, upright R'G'B' of the full range, each with its exact time on the source's clock."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction

from diffst_cli.decode import (
    decode_arguments,
    decoded_pictures,
    is_below_zero,
    late_streams,
    other_size,
)
from diffst_cli.errors import UserError
from diffst_cli.ffmpeg import FfmpegProcess, error_lines
from diffst_cli.pixels import Image, composite, is_transparent
from diffst_cli.probe import VideoInfo
from diffst_cli.read_images import read_images
from diffst_cli.source_times import IncreasingTimes, max_gap_seconds

EARLY_END_FRAMES = 2  # missing at an end before it is told
# Without a picture at the beginning of a part, from which on one sees that.
HELD_SECONDS = Fraction(1, 10)
KEPT_LINES = 20_000  # of what ffmpeg says: of sizes and streams, before and after much damage
CLOSE_TIMEOUT_SECONDS = 10  # for ffmpeg to end once its output has
LOST_TRANSPARENCY = "what is transparent becomes black: diffst writes no transparency"


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """One source frame."""

    image: Image
    """(height, width, 3), R'G'B', full range: uint8, or uint16 (0 to 65535) from a deeper source."""
    time: Fraction
    """Seconds on the source's own clock, strictly increasing from frame to frame."""
    index: int
    """From 0, the first frame read."""


@dataclass
class ReadReport:
    """What reading met; complete once the frames are used up."""

    num_frames: int = 0
    reached_end: bool = False
    """Whether all was read, of the file or of the part asked for."""
    ended_early: str | None = None
    """A sentence when the file ends before its header says, else None."""
    damage: str | None = None
    """A sentence when ffmpeg met errors on the way and went on, else None."""
    gap: str | None = None
    """A sentence when the first picture of a part of a constant rate comes late, else None."""
    resized: str | None = None
    """A sentence when pictures of another size were scaled to that of the first, else None."""
    late: str | None = None
    """A sentence when streams begin too late to be kept, else None."""
    transparency: str | None = None
    """A sentence once a frame had a pixel that is not opaque, else None."""


class FrameReader(Iterator[Frame]):
    """The frames of a video, one after another; owns the ffmpeg that decodes them.

    Ends ffmpeg when used up, closed, left as a context manager or forgotten. `close` may be called
    from another thread than the one that iterates.
    """

    def __init__(
        self,
        info: VideoInfo,
        *,
        start: Fraction | None = None,
        duration: Fraction | None = None,
    ) -> None:
        self.report = ReadReport()
        self._info = info
        self._begin = info.origin_seconds + start if start is not None else None
        self._end = None
        if duration is not None:
            self._end = (info.origin_seconds if self._begin is None else self._begin) + duration
        self._process: FfmpegProcess | None = None
        self._errors: list[str] = []
        self._closed = False
        self._frames = self._read()

    def __next__(self) -> Frame:
        try:
            return next(self._frames)
        except ValueError:
            if self._closed:  # `close` is ending the generator in another thread
                raise StopIteration from None
            raise

    def close(self) -> None:
        """Stop reading: the iteration ends, ffmpeg too; safe to call twice."""
        self._closed = True
        if self._process is not None:
            self._process.kill()
        with contextlib.suppress(ValueError):  # another thread is inside it, and ends it itself
            self._frames.close()

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> Generator[Frame, None, None]:
        timed = self._read_images() if self._info.images else self._read_video()
        last_time = None
        with contextlib.closing(timed):
            for picture, time in self._from_begin(timed):
                if self._closed:  # pictures are read without an ffmpeg, whose end would end this
                    return
                if self._end is not None and time >= self._end:
                    self.report.reached_end = True
                    break
                last_time = time
                # Only pixels tell: many a file that could hold transparency, as every GIF, has none.
                if self.report.transparency is None and is_transparent(picture):
                    self.report.transparency = LOST_TRANSPARENCY
                image = composite(picture)
                yield Frame(image=image, time=time, index=self.report.num_frames)
                self.report.num_frames += 1
        if self._closed:
            return
        if self._process is not None:
            size = other_size(self._process.lines, self._info)
            self.report.resized = _resized(self._info, size) if size is not None else None
            late = late_streams(self._process.lines)
            self.report.late = _begin_late(self._info, late) if late else None
        if last_time is None:
            raise self._nothing_read()
        if not self.report.reached_end:
            self._look_back(last_time)
            self.report.reached_end = True

    def _from_begin(
        self, timed: Iterator[tuple[Image, Fraction]]
    ) -> Generator[tuple[Image, Fraction], None, None]:
        """From `begin` on; where a variable rate has nothing soon, what is on screen then is shown from then on."""
        begin, held = self._begin, None
        for picture, time in timed:
            if begin is not None and time < begin:
                held = picture
                continue
            if held is not None and begin is not None and self._shows_held(time - begin):
                yield held, begin
            if self.report.num_frames == 0 and begin is not None:
                self.report.gap = self._gap_before(time)
            held = None
            yield picture, time
        if held is not None and begin is not None:
            info = self._info
            end = info.start_seconds + (info.duration_seconds or 0)
            if self._shows_held(end - begin):
                yield held, begin

    def _gap_before(self, time: Fraction) -> str | None:
        """What is told where the pictures from `begin` until `time` are missing: lost, or not found."""
        info, begin = self._info, self._begin
        if begin is None or begin < info.start_seconds or info.is_variable:
            return None
        if time - begin <= EARLY_END_FRAMES / info.frame_rate:
            return None
        if time - begin > max_gap_seconds(info.container):
            return f"the clock of `{info.path}` is set anew on the way, and a part behind that is not found by time"
        return f"`{info.path}` has no picture for {float(time - begin):.2f} s where the part begins"

    def _shows_held(self, gap: Fraction) -> bool:
        """Whether a gap at the beginning of a part, seconds, shows the picture before it."""
        return self._info.is_variable and gap > HELD_SECONDS

    def _read_images(self) -> Generator[tuple[Image, Fraction], None, None]:
        for index, picture in enumerate(read_images(self._info)):
            yield picture, index / self._info.frame_rate

    def _read_video(self) -> Generator[tuple[Image, Fraction], None, None]:
        info = self._info
        times = IncreasingTimes(
            nominal_step=1 / info.frame_rate,
            tick=info.time_base,
            max_gap=max_gap_seconds(info.container),
        )
        arguments = decode_arguments(info, self._begin)
        with FfmpegProcess(arguments, num_kept_lines=KEPT_LINES) as process:
            self._process = process
            for picture, time, tick in decoded_pictures(process, info):
                yield picture, times.repair(time, tick)
            if not self._closed:
                self._errors = _end_of(process)

    def _look_back(self, last_time: Fraction) -> None:
        """Report what went wrong, and whether the end came too soon."""
        info, step = self._info, 1 / self._info.frame_rate
        why = f": {self._errors[0]}" if self._errors else ""
        missing = Fraction(0)
        if info.duration_seconds is not None:
            missing = info.start_seconds + info.duration_seconds - (last_time + step)
        if missing > EARLY_END_FRAMES * step and (why or self._lacks_frames()):
            self.report.ended_early = (
                f"`{info.path}` ends {float(missing):.2f} s before its header says{why}"
            )
        elif why:
            self.report.damage = f"`{info.path}` is damaged in places{why}"

    def _lacks_frames(self) -> bool:
        """Whether fewer frames came than the file said, where that can be told."""
        info = self._info
        if self._begin is not None or info.is_variable or info.num_frames is None:
            return False
        return self.report.num_frames < info.num_frames

    def _nothing_read(self) -> UserError:
        info = self._info
        if self._errors:
            return UserError(
                f"no frame could be decoded from `{info.path}`: {self._errors[0]}",
                hint="the file is damaged, or this ffmpeg lacks its decoder",
            )
        return nothing_there(info)


def _resized(info: VideoInfo, size: tuple[int, int]) -> str:
    first = f"{info.stored_width}x{info.stored_height}"
    return f"`{info.path}` changes its size: pictures of {size[0]}x{size[1]} are scaled to {first}, that of the first"


def _begin_late(info: VideoInfo, streams: list[str]) -> str:
    return (
        f"left out of `{info.path}`, because it begins far behind the others: {', '.join(streams)}"
    )


def require_start(info: VideoInfo, start: Fraction | None) -> None:
    """Passes a time at which the video is not over; where its headers say that it is, they may be wrong.

    Raises:
        UserError: It is over; or the file cannot be entered there, as its sound would be lost.
    """
    if start is not None and is_below_zero(info):
        raise UserError(
            f"`{info.path}` begins before its clock's zero, so no part of it can be taken",
            hint="copy it first: `ffmpeg -i IN -c copy -map 0 OUT.mkv`; without `--start` it can be upscaled as it is",
        )
    if start is not None and info.duration_seconds and start >= info.duration_seconds:
        with read_frames(info, start=start) as reader:
            next(iter(reader))


def nothing_there(info: VideoInfo) -> UserError:
    """The error of a part of a video that holds no frame."""
    length = info.duration_seconds
    return UserError(
        f"no frame in the chosen part of `{info.path}`",
        hint=None if length is None else f"the video is {float(length):.2f} s long",
    )


def read_frames(
    info: VideoInfo, *, start: Fraction | None = None, duration: Fraction | None = None
) -> FrameReader:
    """The frames of a video between two times; see `FrameReader`."""
    return FrameReader(info, start=start, duration=duration)


def _end_of(process: FfmpegProcess) -> list[str]:
    """Wait for an ffmpeg whose output has ended, and return the errors it reported.

    Raises:
        UserError: It was killed, by the system or by someone, so that frames are missing.
    """
    try:
        status = process.wait(CLOSE_TIMEOUT_SECONDS)
    except TimeoutError:
        process.kill()
        return ["ffmpeg did not end"]
    if status < 0:
        raise UserError(
            f"ffmpeg was killed by signal {-status} while decoding", hint="run it again"
        )
    errors = error_lines(process.lines)
    return errors or ([f"ffmpeg ended with status {status}"] if status else [])
