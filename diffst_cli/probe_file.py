"""Probing one video file with PyAV, closed so that libav can open nothing but that file."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, cast

import av
import av.container
import av.error
from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.sidedata.sidedata import SideData, Type
from av.stream import Disposition, Stream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from diffst.containers import CLOSED
from diffst_cli.boxes import track_end
from diffst_cli.colour import Colour, colour_from_numbers
from diffst_cli.edit_lists import find_unplayed
from diffst_cli.errors import UserError
from diffst_cli.ffmpeg import opening_options
from diffst_cli.ffmpeg_facts import (
    describe_by_ffmpeg,
    find_field_order,
    find_shown_size,
    find_unkept,
    is_chapter_track,
    read_chroma_location,
)
from diffst_cli.orientation import read_display_matrix
from diffst_cli.packet_scan import Scan, holds_last, is_uneven, scan_packets, true_steps
from diffst_cli.probe import CHAPTERS, LARGEST_ASPECT, StreamInfo, VideoInfo
from diffst_cli.probe_images import is_animated
from diffst_cli.source_times import max_gap_seconds
from diffst_cli.timecode import TIMECODE, find_timecode

PLAYLIST_HEADS = (
    b"#EXTM3U",
    b"ffconcat ",
    b"[playlist]",
    b"[reference]",
    b"<smil",
    b"<asx",
    b"<mpd",
    b"v=0",
)
RATE_TOLERANCE = 0.002  # between a header's frame rate and the measured one
AS_FFMPEG = {"scan_all_pmts": "1"}  # of MPEG-TS; ffmpeg does so unasked
HALF_MICROSECOND = Fraction(1, 2_000_000)  # what libav's rounding of a file's start changes at most
FALLBACK_RATE = Fraction(25)  # for a raw stream that says nothing, as FFmpeg does


def probe_file(path: Path) -> VideoInfo:
    """Facts about the main video stream of one file; see `probe.probe` for the errors."""
    check_input(path)
    with open_container(path) as container:
        stream = _main_video(container, path)
        scan = _last_as_shown(path, container, stream, scan_packets(container, stream))
        if scan.frame is None:
            raise UserError(
                f"no picture can be decoded from `{path}`", hint="the file is damaged or encrypted"
            )
        if scan.num_unstamped and (container.start_time or 0) < 0:
            raise UserError(
                f"`{path}` begins before its clock's zero, and its first frames do not say when they are shown",
                hint="cut it once more from what it was cut from, without `-avoid_negative_ts disabled`",
            )
        return _describe(path, container, stream, scan, scan.frame)


def _last_as_shown(path: Path, container: InputContainer, stream: VideoStream, scan: Scan) -> Scan:
    """The scan, its last duration no longer than the track: an MP4's packet lasts until the next is decoded."""
    if scan.in_order or not scan.times or not container.format.name.startswith("mov"):
        return scan
    end = track_end(path, stream.id)
    if end is None:
        return scan
    shown = max(end - scan.times[-1], Fraction(0))
    return replace(scan, last_duration=min(scan.last_duration, shown))


def check_input(path: Path) -> None:
    """Refuse what is not a readable local file with something in it that could be a video.

    Raises:
        UserError: Saying which of these it is, playlists included whatever their name.
    """
    if re.match(r"[a-z][a-z0-9+.-]+:", str(path), re.IGNORECASE) and not path.exists():
        typed = str(path).replace(":/", "://", 1)  # a Path holds no two slashes in a row
        raise UserError(
            f"`{typed}` is an address, not a file",
            hint="download it first; diffst opens local files only",
        )
    if not path.exists():
        raise UserError(f"no such file: `{path}`")
    if not path.is_file():
        raise UserError(f"`{path}` is not a regular file")
    try:
        with path.open("rb") as file:
            head = file.read(1024)
    except OSError as error:
        raise UserError(f"cannot read `{path}`: {error.strerror}") from error
    if not head:
        raise UserError(f"`{path}` is empty")
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if any(text.startswith(mark.lower()) for mark in PLAYLIST_HEADS) or b"<mpd" in text:
        raise UserError(
            f"`{path}` is a playlist", hint="give diffst the video files it names, one by one"
        )


@contextmanager
def open_container(path: Path) -> Iterator[InputContainer]:
    """The file opened by libav through Python's file object, so that libav opens no other.

    Raises:
        UserError: It is not one of `diffst.containers.FORMATS`.
    """
    # Libav looks for an animation's mark near the beginning only.
    kind = "apng" if is_animated(path) else None
    with path.open("rb") as file:
        try:
            container = _open(file, kind)
            more = opening_options(container.format.name)
            if more:
                container.close()
                file.seek(0)
                container = _open(file, kind, **more, **AS_FFMPEG)
        except (av.error.FFmpegError, ValueError) as error:
            raise UserError(
                f"`{path}` is not a video that can be read",
                hint=_what_else(path),
            ) from error
        with container:
            yield container


def _what_else(path: Path) -> str:
    """What to do about a file that cannot be opened."""
    with path.open("rb") as file:
        head = file.read(21)
    if head[8:16] == b"WEBPVP8X" and head[20] & 2:  # its flag of an animation
        return "an animated WebP; make a video of it first: `ffmpeg -i IN -c:v ffv1 OUT.mkv`, with ffmpeg 9 or later"
    return "MP4, MOV, MKV, WebM, AVI, GIF, MPEG and picture folders can; is it complete?"


def _open(file: BinaryIO, kind: str | None, **options: str) -> InputContainer:
    return av.open(file, mode="r", format=kind, options=options | CLOSED, metadata_errors="replace")


def _main_video(container: InputContainer, path: Path) -> VideoStream:
    """The default video stream, else the first; neither cover art nor one that is only announced counts.

    Of an animated AVIF the moving pictures are meant, not the single one beside them, which has no duration.
    """
    pictures = Disposition.attached_pic | Disposition.timed_thumbnails
    candidates = [stream for stream in container.streams.video if not stream.disposition & pictures]
    candidates = [stream for stream in candidates if not _is_empty(stream)] or candidates
    if sum(bool(stream.disposition & Disposition.dependent) for stream in candidates) > 1:
        raise UserError(
            f"`{path}` is a picture made of tiles, of which only one would be read",
            hint="convert it to PNG first",
        )
    if "mov" in container.format.name:
        candidates = [stream for stream in candidates if stream.duration] or candidates
    if not candidates:
        kinds = sorted({stream.type for stream in container.streams})
        raise UserError(
            f"no video stream in `{path}`", hint=f"it holds only: {', '.join(kinds) or 'nothing'}"
        )
    chosen = next((s for s in candidates if s.disposition & Disposition.default), candidates[0])
    if chosen.codec_context is None:
        raise UserError(f"no decoder for the video in `{path}`")
    return chosen


def _describe(
    path: Path, container: InputContainer, stream: VideoStream, scan: Scan, frame: VideoFrame
) -> VideoInfo:
    report = describe_by_ffmpeg(path, container.format.name)
    shown = find_shown_size(path, container.format.name, report, stream.index)
    orientation = read_display_matrix(frame)
    stored = shown or (frame.width, frame.height)
    width, height = orientation.turn_size(*stored)
    aspect = likely_aspect(stream.sample_aspect_ratio)
    start = _start_seconds(stream, scan)
    steps = true_steps(scan.times, max_gap_seconds(container.format.name))
    rate = _frame_rate(container, stream, steps)
    has_alpha = frame.format.has_palette or any(c.is_alpha for c in frame.format.components)
    return VideoInfo(
        path=path,
        container=container.format.name,
        images=(),
        stream_index=stream.index,
        width=width,
        height=height,
        stored_width=stored[0],
        stored_height=stored[1],
        rotation=orientation.rotation,
        mirrored=orientation.mirrored,
        sample_aspect=orientation.turn_aspect(aspect),
        codec=stream.codec_context.name,
        pixel_format=frame.format.name,
        bit_depth=max(component.bits for component in frame.format.components),
        is_rgb=frame.format.is_rgb or frame.format.has_palette,
        has_alpha=has_alpha,
        # VP8 and VP9 have it in a second picture beside each frame.
        hides_alpha=stream.metadata.get("alpha_mode") == "1" and not has_alpha,
        frame_rate=rate,
        time_base=stream.time_base or 1 / rate,
        is_variable=is_uneven(steps, stream.time_base or Fraction(0)) or holds_last(scan),
        interlaced=find_field_order(path, container.format.name, stream, frame, rate),
        colour=_colour(stream, frame, report),
        origin_seconds=_origin_seconds(container, stream),
        start_seconds=start,
        duration_seconds=_duration_seconds(container, stream, scan, start),
        num_frames=_num_frames(container, stream, scan, start, rate),
        counts_stored=_counts_stored(container, stream, scan),
        unkept=(
            *_captions(frame),
            *find_unkept(report, stream.index),
            *find_unplayed(path, container.format.name),
        ),
        streams=tuple(describe_stream(each, report) for each in container.streams),
        num_chapters=len(container.chapters()),
        tags=_tags(container),
    )


def _tags(container: InputContainer) -> dict[str, str]:
    """The file's own, and the timecode that MOV and MP4 have in a track."""
    tags = dict(container.metadata)
    found = [find_timecode(stream.metadata) for stream in container.streams]
    label = next((label for label in found if label), None)
    return tags if label is None or find_timecode(tags) else {**tags, TIMECODE: label}


def likely_aspect(stated: Fraction | None) -> Fraction:
    """A pixel's width over its height: 1 where none is stated, or one that no video has."""
    if stated is None or not Fraction(1, LARGEST_ASPECT) <= stated <= LARGEST_ASPECT:
        return Fraction(1)
    return stated


def _frame_rate(container: InputContainer, stream: VideoStream, steps: list[Fraction]) -> Fraction:
    """The header's rate that the packets bear out, else the measured mean."""
    stated = [rate for rate in (stream.guessed_rate, stream.average_rate, stream.base_rate) if rate]
    span = sum(steps, Fraction(0))
    if span == 0:
        return stated[0] if stated else FALLBACK_RATE
    measured = len(steps) / span
    counted = stream.average_rate
    # AVI counts frames, and leaves out those that repeat; one that leaves out most has a clock, not a rate.
    if container.format.name == "avi" and counted and measured < counted < 2 * measured:
        return counted
    close = [rate for rate in stated if math.isclose(rate, measured, rel_tol=RATE_TOLERANCE)]
    return close[0] if close else measured.limit_denominator(1001) or measured


def _origin_seconds(container: InputContainer, video: VideoStream) -> Fraction:
    """Where the clock begins: libav's microseconds, undone by the start of the stream that they are from."""
    rounded = Fraction(container.start_time or 0, av.time_base)
    for stream in (video, *container.streams):
        if stream.start_time is not None and stream.time_base:
            exact: Fraction = stream.start_time * stream.time_base
            if abs(exact - rounded) <= HALF_MICROSECOND:
                return exact
    return rounded


def _start_seconds(stream: VideoStream, scan: Scan) -> Fraction:
    if stream.start_time is not None and stream.time_base:
        return stream.start_time * stream.time_base
    return scan.times[0] if scan.times else Fraction(0)


def _duration_seconds(
    container: InputContainer, stream: VideoStream, scan: Scan, start: Fraction
) -> Fraction | None:
    """What the header promises of this stream, else what the packets show, else the file's length.

    More packets than promised are believed: MPEG streams have no header, only FFmpeg's guess.
    """
    shown = Fraction(0)
    if scan.complete and scan.times:
        shown = scan.times[-1] + scan.last_duration - scan.times[0]
    if stream.duration and stream.time_base:
        return max(stream.duration * stream.time_base, shown)
    end = _clock_seconds(stream.metadata.get("DURATION", ""))  # Matroska: the end time of the track
    if end is not None and end > start:
        return end - start
    if shown:
        return shown
    if container.duration:
        file_start = Fraction(container.start_time or 0, av.time_base)
        return Fraction(container.duration, av.time_base) - max(start - file_start, Fraction(0))
    return None


def _num_frames(
    container: InputContainer, stream: VideoStream, scan: Scan, start: Fraction, rate: Fraction
) -> int | None:
    if scan.complete:
        return scan.num_packets
    if stream.frames:
        return stream.frames
    duration = _duration_seconds(container, stream, scan, start)
    return None if duration is None else max(1, round(duration * rate))


def _counts_stored(container: InputContainer, stream: VideoStream, scan: Scan) -> bool:
    """Whether an MXF lacks the order in which its pictures are shown, as ffmpeg writes H.264."""
    if container.format.name != "mxf" or not scan.in_order:
        return False
    # Of MPEG-2 this is said of whatever might have such frames.
    return stream.codec_context.name != "mpeg2video" and bool(stream.codec_context.has_b_frames)


def _clock_seconds(text: str) -> Fraction | None:
    """Seconds of a time written as `HH:MM:SS.fraction`; None when it is not one."""
    # As many digits as a true one has: converting crafted ones could take for ever.
    match = re.fullmatch(r"(\d{1,6}):(\d\d):(\d\d(?:\.\d{1,12})?)", text)
    return int(match[1]) * 3600 + int(match[2]) * 60 + Fraction(match[3]) if match else None


def _colour(stream: VideoStream, frame: VideoFrame, report: str) -> Colour:
    """The decoded frame's tags, which are the bitstream's over the container's; header's where unset."""
    context = stream.codec_context
    pairs = (
        (frame.colorspace, context.colorspace, 2),
        (frame.color_range, context.color_range, 0),
        (frame.color_primaries, context.color_primaries, 2),
        (frame.color_trc, context.color_trc, 2),
    )
    colour = colour_from_numbers(*(header if own == unset else own for own, header, unset in pairs))
    if frame.format.chroma_width(2) == 2:
        return colour
    return replace(colour, chroma_location=read_chroma_location(report, stream.index))


def _captions(frame: VideoFrame) -> Iterator[str]:
    """One sentence where a first picture brings captions, as most of television do from the first on."""
    with suppress(ValueError):  # side data of a kind that PyAV does not know hides all of it
        side_data = cast("Mapping[Type, SideData]", frame.side_data)  # PyAV's stub says less
        if Type.A53_CC in side_data:
            yield "closed captions inside the pictures are left out"


def holds_packets(path: Path, index: int) -> bool:
    """Whether a stream of a file holds anything; a damaged file may only announce it."""
    with open_container(path) as container, suppress(av.error.FFmpegError, IndexError):
        return any(packet.size for packet in container.demux(container.streams[index]))
    return False


def _num_channels(stream: Stream) -> int:
    if not isinstance(stream, AudioStream) or stream.codec_context is None:
        return 0
    return stream.codec_context.channels


def describe_stream(stream: Stream, report: str) -> StreamInfo:
    """What the header, and ffmpeg in its report on the file, say of one stream of any kind."""
    base = stream.time_base
    codec = TIMECODE if TIMECODE in stream.metadata else "unknown"
    if is_chapter_track(report, stream.index):
        codec = CHAPTERS
    if stream.codec_context is not None:
        codec = stream.codec_context.name
    return StreamInfo(
        index=stream.index,
        kind=stream.type,
        codec=codec,
        language=stream.metadata.get("language"),
        title=stream.metadata.get("title"),
        disposition=tuple(str(flag.name) for flag in Disposition if stream.disposition & flag),
        start_seconds=stream.start_time * base if base and stream.start_time is not None else None,
        duration_seconds=stream.duration * base if base and stream.duration is not None else None,
        num_channels=_num_channels(stream),
        is_empty=_is_empty(stream),
    )


def _is_empty(stream: Stream) -> bool:
    """Whether nothing of a video or sound was found that told its size, or its channels and rate."""
    context = stream.codec_context
    if isinstance(context, AudioCodecContext):
        return context.channels == 0 or context.sample_rate == 0
    return isinstance(context, VideoCodecContext) and context.width == 0
