"""ffmpeg as the decoder of one video file: its arguments, and the pictures that come out of it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import cast

import av
import av.error
import ffmpeg
import numpy as np

from diffst_cli.colour import CHROMA_POSITIONS, SCALE_MATRICES, chroma_position, is_limited_grey
from diffst_cli.errors import UserError
from diffst_cli.ffmpeg import PROTOCOLS, FfmpegProcess, file_argument, opening_options
from diffst_cli.ffmpeg_facts import deep_white
from diffst_cli.pixels import Image, stretch_grey, stretch_white
from diffst_cli.probe import Colour, VideoInfo, resolved_colour

SCALE_FLAGS = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
INDEXED = ("mov", "matroska", "avi")  # demuxers that seek to a keyframe at or before a time
# These find a time too; the others, raw streams of pictures among them, are read from their beginning.
SEEKABLE = (*INDEXED, "mpegts", "mpeg", "flv", "asf", "mxf", "ogg", "nut", "dv", "gxf", "wtv")
BLIND_SEEK_SECONDS = 30  # how much earlier to start with the others, which land between keyframes
# Nearer to its beginning a file is read from there: of pictures stored out of order ffmpeg enters some
# hundredths of a second earlier than told, and some demuxers go to the end where that is before zero.
LEAST_ENTRY_SECONDS = 1
TRIM_MARGIN_SECONDS = Fraction(1, 10)  # let through before `begin`, because ffmpeg rounds times
PIPE_BYTES = 2**20  # read from ffmpeg at a time; PyAV's own 32 KiB costs twice the CPU time
# Ffmpeg tells of pictures of another size, and what became of its input, at this level.
LOG_LEVEL = ("-loglevel", "level+info", "-nostats")
RESIZED = re.compile(r"video parameters changed to .*?, (\d+)x(\d+)")
LATE_STREAM = re.compile(r"New (\w+) stream with index (\d+) at pos")
NUT_OPTIONS = {
    "probesize": "32",
    "analyzeduration": "0",
}  # the header says it all; wait for nothing


def decode_arguments(info: VideoInfo, begin: Fraction | None) -> list[str]:
    """Ffmpeg's arguments to write the frames to its stdout, raw in NUT, at the source's own times plus `_lift`.

    Args:
        info: The video.
        begin: First time wanted on the source's clock, seconds; frames from earlier come too, of a
            variable rate the one that is on screen then among them.

    Raises:
        UserError: The video's colour matrix is one that ffmpeg cannot convert.
    """
    demuxer = info.container.split(",")[0]
    options: dict[str, str | None] = {
        "protocol_whitelist": PROTOCOLS,
        "f": demuxer,  # forced, so that no content can choose another demuxer
        "noautorotate": None,
        **opening_options(info.container),
    }
    if info.counts_stored:  # to be counted as they are shown, from the file's first on
        options["r"] = str(info.frame_rate)
    elif begin is not None and not is_below_zero(info):
        early = TRIM_MARGIN_SECONDS if demuxer in INDEXED else BLIND_SEEK_SECONDS
        entry = begin - info.origin_seconds - early
        if can_enter(info, entry):
            options["ss"] = f"{float(entry):.6f}"
            if info.is_variable:
                options["noaccurate_seek"] = None  # keep what lies between the keyframe and `begin`
    stream = ffmpeg.input(file_argument(info.path), **options)[str(info.stream_index)]
    for name, arguments in _filters(info, begin):
        stream = stream.filter(name, **arguments)
    output = ffmpeg.output(
        stream,
        "pipe:1",
        f="nut",
        vcodec="rawvideo",
        pix_fmt=info.rgb_format,
        fps_mode="passthrough",
        copyts=None,
        output_ts_offset=_lift(info),
        enc_time_base=f"{info.time_base.numerator}:{info.time_base.denominator}",
    )
    return [*LOG_LEVEL, *output.get_args()]


def other_size(lines: Sequence[str], info: VideoInfo) -> tuple[int, int] | None:
    """Width and height of pictures that were scaled to those of the first, from what ffmpeg said; None without any."""
    found = [(int(match[1]), int(match[2])) for line in lines if (match := RESIZED.search(line))]
    return next((size for size in found if size != (info.stored_width, info.stored_height)), None)


def late_streams(lines: Sequence[str]) -> list[str]:
    """Streams that begin too late to be seen when a file is opened, as `subtitle stream 2`, from what ffmpeg said."""
    found = (LATE_STREAM.search(line) for line in lines)
    return [f"{match[1]} stream {match[2]}" for match in found if match]


def can_enter(info: VideoInfo, time: Fraction) -> bool:
    """Whether ffmpeg finds a time in a file, seconds from its beginning, rather than another one."""
    return time >= LEAST_ENTRY_SECONDS and info.container.split(",")[0] in SEEKABLE


def is_below_zero(info: VideoInfo) -> bool:
    """Whether a Matroska file's clock begins below 0, where ffmpeg's seeking loses its way."""
    return info.origin_seconds < 0 and info.container.startswith("matroska")


def _lift(info: VideoInfo) -> int:
    """Seconds that are added to all times on the way here: NUT holds none below 0, and ffmpeg would move them all."""
    return max(0, math.ceil(-info.origin_seconds))


def _filters(info: VideoInfo, begin: Fraction | None) -> Iterator[tuple[str, dict[str, str | int]]]:
    """The filters and their arguments that make the wanted picture, in order."""
    if begin is not None and not info.is_variable:
        # All from the first of them on: where recordings were joined, clocks are set back.
        first = float(begin - TRIM_MARGIN_SECONDS)
        yield "select", {"expr": f"st(0,ld(0)+gte(t,{first:.6f}))"}
    if info.interlaced != "progressive":
        yield "bwdif", {"mode": "send_frame", "parity": info.interlaced, "deint": "all"}
    yield "setparams", _ignored_tags(info.colour)
    yield "scale", _scale_arguments(info, resolved_colour(info))
    if info.mirrored:
        yield "hflip", {}
    if info.rotation == 180:
        yield "hflip", {}
        yield "vflip", {}
    elif info.rotation:
        yield "transpose", {"dir": "clock" if info.rotation == 90 else "cclock"}


def _ignored_tags(colour: Colour) -> dict[str, str | int]:
    """Tags that nothing here converts by, so that the scale filter does not refuse those that it does not know."""
    unknown: dict[str, str | int] = {"color_primaries": "unknown", "color_trc": "unknown"}
    if colour.matrix == "bt2020c":
        unknown["colorspace"] = "bt2020nc"  # as it is converted
    return unknown


def _scale_arguments(info: VideoInfo, colour: Colour) -> dict[str, str | int]:
    """To R'G'B' of the stored size by the source's own matrix, range and chroma location.

    The size is stated so that a stream that changes size midway keeps the first one.
    """
    arguments: dict[str, str | int] = {
        "w": info.stored_width,
        "h": info.stored_height,
        "flags": SCALE_FLAGS,
    }
    if colour.matrix == "gbr":
        return arguments
    if colour.matrix not in SCALE_MATRICES:
        raise UserError(
            f"`{info.path}` uses the colour matrix `{colour.matrix}`, which is not supported",
            hint="convert it to bt709 or bt2020nc first",
        )
    arguments |= {"in_color_matrix": SCALE_MATRICES[colour.matrix], "in_range": str(colour.range)}
    if colour.chroma_location in CHROMA_POSITIONS:
        planes = av.VideoFormat(info.pixel_format)
        across, down = 256 // planes.chroma_width(256), 256 // planes.chroma_height(256)
        right, below = chroma_position(colour.chroma_location, across, down)
        arguments |= {"in_h_chr_pos": right, "in_v_chr_pos": below}
    return arguments


def _white(info: VideoInfo) -> int | None:
    """What ffmpeg makes of white, where that alone has to be put right: deep Y'CbCr."""
    colour = resolved_colour(info)
    if info.bytes_per_sample == 1 or info.is_rgb or is_limited_grey(info.pixel_format, colour):
        return None
    return deep_white(str(colour.range), info.bit_depth)


def _opaque(info: VideoInfo) -> int | None:
    """What ffmpeg makes of full alpha, where that has to be put right: it only shifts the bits of deep Y'CbCrA."""
    if info.bytes_per_sample == 1 or info.is_rgb or not info.has_alpha:
        return None
    return ((1 << info.bit_depth) - 1) << (16 - info.bit_depth)


def decoded_pictures(
    process: FfmpegProcess, info: VideoInfo
) -> Iterator[tuple[Image, Fraction, Fraction]]:
    """Each raw picture ffmpeg writes, (height, width, 3 or 4), its time and a tick of the pipe's clock, seconds."""
    white, opaque, lift = _white(info), _opaque(info), _lift(info)
    is_flat = is_limited_grey(info.pixel_format, resolved_colour(info))
    dtype = np.dtype(np.uint8 if info.bytes_per_sample == 1 else "<u2")
    shape = (info.height, info.width, 4 if info.has_alpha else 3)
    num_bytes = math.prod(shape) * dtype.itemsize
    try:
        with av.open(
            process.stdout,
            mode="r",
            format="nut",
            options=NUT_OPTIONS,
            metadata_errors="replace",  # the source's own tags travel along
            buffer_size=PIPE_BYTES,
        ) as container:
            for packet in container.demux(video=0):
                if packet.pts is None or packet.size != num_bytes:  # the end, or cut off by a kill
                    continue
                picture = cast("Image", np.frombuffer(packet, dtype).reshape(shape))
                if is_flat:
                    picture[:, :, :3] = stretch_grey(picture[:, :, :3])
                if white is not None:
                    picture[:, :, :3] = stretch_white(picture[:, :, :3], white)
                if opaque is not None:
                    picture[:, :, 3:] = stretch_white(picture[:, :, 3:], opaque)
                yield picture, packet.pts * packet.time_base - lift, packet.time_base
    except av.error.FFmpegError:  # nothing came, or ffmpeg was stopped within a frame
        return
