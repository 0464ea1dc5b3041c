"""Looking through the whole input once, ahead of the work: its cuts, its segments, its end, its faults."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING

from diffst_cli.channel import Channel, Stopped, Worker
from diffst_cli.job import UpscaleJob
from diffst_cli.making import new_timeline
from diffst_cli.manifest import Scanned
from diffst_cli.segments import plan_segments
from diffst_cli.source_times import max_gap_seconds
from diffst_cli.stages import Stages
from diffst_cli.work import Work

if TYPE_CHECKING:
    from diffst_cli.probe import VideoInfo
    from diffst_cli.reader import Frame, FrameReader

# Seconds; a file, or a part, that ends so soon after its last frame does not state its end.
END_ROUNDING = Fraction(1, 500)


@contextmanager
def looked_through(job: UpscaleJob, info: VideoInfo, work: Work, stages: Stages) -> Iterator[None]:
    """Inside, a thread adds all segments of the job to its `work`; it has ended on leaving.

    Nothing is done where an earlier run looked through everything.
    """
    from diffst_cli.reader import read_frames

    if work.scanned is not None:
        yield
        return
    reader = read_frames(info, start=job.start, duration=job.duration)
    done: Channel[None] = Channel(1)
    scanner = Worker("scanner", lambda: _scan(reader, job, info, work, stages), done)
    with scanner, reader:  # the reader is closed first, so that its thread does not wait for ffmpeg
        yield


def _scan(
    reader: FrameReader, job: UpscaleJob, info: VideoInfo, work: Work, stages: Stages
) -> None:
    from diffst_cli.shots import split_shots

    assert work.rules is not None

    def end_of(last: Frame) -> Fraction:
        """When the last frame ends."""
        is_whole = reader.report.ended_early is None
        return end_of_last_frame(last.time, info, job, is_whole=is_whole)

    try:
        frames = stages.timed_items("scan", split_shots(_to_the_end(reader)))
        for segment in plan_segments(frames, new_timeline(job, None), work.rules, end_of):
            work.add(segment)
        report = reader.report
        found = (
            report.ended_early,
            report.damage,
            report.gap,
            report.resized,
            report.late,
            report.transparency,
        )
        warnings = tuple(message for message in found if message is not None)
        work.end_scan(Scanned(num_keyframes=report.num_frames, warnings=warnings))
    except BaseException as error:
        work.fail_scan(error)
        raise


def _to_the_end(reader: FrameReader) -> Iterator[Frame]:
    """All frames.

    Raises:
        Stopped: The reader was closed before its end, which must not be taken for the video's.
    """
    yield from reader
    if not reader.report.reached_end:
        raise Stopped


def end_of_last_frame(
    last_time: Fraction, info: VideoInfo, job: UpscaleJob, *, is_whole: bool = True
) -> Fraction:
    """When the last frame read stops being shown, in seconds on the source's clock.

    At a constant rate, one frame later. At a variable rate the last picture may be held long, as in
    a GIF or a screen recording, or much shorter than the average, after long gaps, so it lasts until
    the file's end; a file's longer audio only makes the picture stay as long as players would show it.
    A file that was cut short, so that it is not whole, is not held to its header's end.
    A part that ends within the last frame ends it only where that crowds no frames: those of a constant
    rate keep their distance, as do those of a moment that may be no more than a clock's rounding.
    """
    usual = end = last_time + 1 / info.frame_rate
    if is_whole and info.is_variable and info.duration_seconds is not None:
        stated = info.start_seconds + info.duration_seconds
        # A clock that was set on the way makes the header's end too late or too early.
        longest = max_gap_seconds(info.container)
        end = stated if END_ROUNDING < stated - last_time <= longest else end
    if job.duration is None:
        return end
    limit = info.origin_seconds + (job.start or 0) + job.duration
    if job.fps is not None:
        return min(end, limit) if limit > last_time else end
    if not info.is_variable:
        return end
    return min(end, limit if limit - last_time > END_ROUNDING else usual)
