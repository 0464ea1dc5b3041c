"""Probing one video file with PyAV, closed so that libav can open nothing but that file."""

from __future__ import annotations

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
from diffst_cli.file_times import (
    count_frames,
    counts_stored,
    find_duration,
    find_frame_rate,
    find_origin,
    find_start,
    last_as_shown,
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
AS_FFMPEG = {"scan_all_pmts": "1"}  # of MPEG-TS; ffmpeg does so unasked


def probe_file(path: Path) -> VideoInfo:
    """Facts about the main video stream of one file; see `probe.probe` for the errors."""
    check_input(path)
    with open_container(path) as container:
        stream = _main_video(container, path)
        scan = last_as_shown(path, container, stream, scan_packets(container, stream))
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
    start = find_start(stream, scan)
    steps = true_steps(scan.times, max_gap_seconds(container.format.name))
    rate = find_frame_rate(container, stream, steps)
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
        origin_seconds=find_origin(container, stream),
        start_seconds=start,
        duration_seconds=find_duration(container, stream, scan, start),
        num_frames=count_frames(container, stream, scan, start, rate),
        counts_stored=counts_stored(container, stream, scan),
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
