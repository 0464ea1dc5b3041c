"""What only ffmpeg tells: chroma location, interlacing seen in the pictures, its own idea of white."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

from diffst_cli.colour import CHROMA_POSITIONS
from diffst_cli.ffmpeg import PROTOCOLS, FfmpegProcess, file_argument, opening_options

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

UNKNOWN_ORDER = 0
# FFmpeg's AVFieldOrder: fields stored apart, or woven into one picture. Of the latter its comments say
# which is shown first the other way round; its decoders, QuickTime and Matroska mean it as here.
TOP_FIRST = (2, 4)
BOTTOM_FIRST = (3, 5)
INTERLACED_HEIGHTS = (480, 486, 576, 1080)  # stored lines of the formats that were ever interlaced
MAX_INTERLACED_RATE = 30  # frames a second
SAMPLED_FRAMES = 120
TIMEOUT_SECONDS = 60
OWN_COLOURS = "5"  # the profile of Dolby Vision whose pictures are in no other standard's colours
REPORT_LINES = 2000  # of what ffmpeg says; files of many streams take hundreds
MIN_VOTES = 8  # interlaced frames among the sampled ones, else it is chance
DOMINANCE = 8  # interlaced over progressive frames, and one field order over the other
# Of video that says it is interlaced: places in the file to look at, frames at each, whole ones that it takes to
# think otherwise, and how many of them to one whose fields differ in time. Of the 128 frames of six short real films 95
# to 109 were seen to be whole and at most 2 not; of a still, noisy, interlaced scene 7 seemed to be.
LOOKS, LOOK_FRAMES, MIN_FILM_VOTES, FILM_DOMINANCE = 8, 16, 40, 20
SINGLE_FRAME = re.compile(r"Single frame detection: TFF:\s*(\d+) BFF:\s*(\d+) Progressive:\s*(\d+)")
WHITE_SIDE = 16  # pixels of the square that is converted


def describe_by_ffmpeg(path: Path, container: str) -> str:
    """What ffmpeg says of a file; empty when that takes too long."""
    return _run(_input_arguments(path, container))  # no output: ffmpeg describes it and ends


def read_chroma_location(report: str, stream_index: int) -> str | None:
    """Where the file says chroma samples lie, in FFmpeg's words; None when it does not say.

    Args:
        report: What `describe_by_ffmpeg` gives.
        stream_index: Of the video.
    """
    stated = re.search(rf"Stream #0:{stream_index}\b.*?: Video: .*?\(([^()]*)\), \d+x\d+", report)
    words = stated[1].split(", ") if stated else []
    return next((word for word in words if word in CHROMA_POSITIONS), None)


def find_shown_size(
    path: Path, container: str, report: str, stream_index: int
) -> tuple[int, int] | None:
    """Width and height that ffmpeg cuts each stored picture to because the container says so; else None.

    An ffmpeg that does not tell of it (7.0) cuts nothing. `report` is what `describe_by_ffmpeg` gives.
    """
    if "Frame Cropping: " not in _of_stream(report, stream_index):
        return None
    shown = re.search(r" s:(\d+)x(\d+) ", _show_first(path, container, stream_index))
    return (int(shown[1]), int(shown[2])) if shown else None


def find_unkept(report: str, stream_index: int) -> Iterator[str]:
    """Sentences on what ffmpeg tells of a video that no output keeps. `report` is what `describe_by_ffmpeg` gives."""
    own = _of_stream(report, stream_index)
    if views := re.search(r"Stereo 3D: (?!2D)([^,\n]*)", own):
        yield f"that the video is 3D ({views[1].strip()}) is not kept"
    if sphere := re.search(r"Spherical Mapping: ([^,\n]*)", own):
        yield f"that the video is one of 360 degrees ({sphere[1].strip()}) is not kept"
    if dolby := re.search(r"DOVI configuration record:.* profile: (\d+)", own):
        yield "Dolby Vision's own data is not kept"
        if dolby[1] == OWN_COLOURS:
            yield "its colours will be wrong: profile 5 needs Dolby Vision's own decoder; convert the video first"


def is_chapter_track(report: str, stream_index: int) -> bool:
    """Whether a MOV's or MP4's stream is the text of its chapters; a text that is shown is a subtitle to ffmpeg.

    Args:
        report: What `describe_by_ffmpeg` gives.
        stream_index: Of any stream.
    """
    own = _of_stream(report, stream_index)
    return re.search(r": Data: bin_data \((?:text|tx3g) / ", own) is not None


def _show_first(path: Path, container: str, stream_index: int) -> str:
    """What ffmpeg says of the first picture that it decodes."""
    showing = ["-map", f"0:{stream_index}", "-frames:v", "1", "-vf", "showinfo", "-f", "null", "-"]
    return _run(["-noautorotate", *_input_arguments(path, container), *showing])


def _of_stream(report: str, index: int) -> str:
    """The part of ffmpeg's report on a file that is about one stream; empty without one."""
    found = re.search(rf"Stream #0:{index}\b.*?(?=Stream #|Stream group #|\Z)", report, re.DOTALL)
    return found[0] if found else ""


def find_field_order(
    path: Path, container: str, stream: VideoStream, frame: VideoFrame, rate: Fraction
) -> str:
    """`progressive`, `tff` or `bff`.

    A header that says interlaced is believed unless the pictures are plainly whole, as those of many films on
    discs and in broadcasts are; and of the order what the first picture says, if it does. A header that says
    progressive or nothing is checked on the pictures (ffmpeg's `idet`) only where interlaced video is usual,
    because it costs a second.
    """
    # PyAV tells it from version 18, which Python 3.10 does not get; there the pictures decide.
    order = getattr(stream.codec_context, "field_order", UNKNOWN_ORDER)
    if order in (*TOP_FIRST, *BOTTOM_FIRST):
        if _is_whole(path, container, stream):
            return "progressive"
        own = re.search(r" i:([TB]) ", _show_first(path, container, stream.index))
        is_top = own[1] == "T" if own else order in TOP_FIRST
        return "tff" if is_top else "bff"
    is_usual = frame.height in INTERLACED_HEIGHTS and rate <= MAX_INTERLACED_RATE
    if not (is_usual or frame.interlaced_frame):
        return "progressive"
    sampling = ["-map", f"0:{stream.index}", "-frames:v", str(SAMPLED_FRAMES), "-vf", "idet"]
    return vote(_run([*_input_arguments(path, container), *sampling, "-f", "null", "-"]))


def _is_whole(path: Path, container: str, stream: VideoStream) -> bool:
    """Whether pictures that are called interlaced are whole ones, by looking at some all over the file.

    `idet` calls a frame progressive only where things move and its lines fit each other better than those of its
    neighbours, and what does not move undetermined; so a few frames whose fields differ in time outweigh many.
    """
    seconds = float((stream.duration or 0) * (stream.time_base or 0))
    if not seconds:  # Matroska states the whole file's alone, in microseconds
        seconds = (cast("InputContainer", stream.container).duration or 0) / 1e6
    whole = woven = 0
    for number in range(LOOKS if seconds else 1):
        seek = ["-ss", f"{seconds * number / LOOKS:.3f}"]
        # Opened without looking far for other streams, which would take as long each time.
        arguments = [*seek, *_input_arguments(path, container, {}), "-map", f"0:{stream.index}"]
        look = ["-frames:v", str(LOOK_FRAMES), "-vf", "idet", "-f", "null", "-"]
        counts = SINGLE_FRAME.findall(_run([*arguments, *look]))
        if not counts:
            continue
        top, bottom, progressive = (int(count) for count in counts[-1])
        woven, whole = woven + top + bottom, whole + progressive
        if woven > LOOKS * LOOK_FRAMES / FILM_DOMINANCE:
            return False
    return whole >= MIN_FILM_VOTES and whole >= FILM_DOMINANCE * woven


def vote(report: str) -> str:
    """The field order that `idet`'s multi-frame counts show clearly; `progressive` otherwise.

    The last counts in the report are taken: ffmpeg may report a first, empty run of the filter too.
    """
    counts = re.findall(
        r"Multi frame detection: TFF:\s*(\d+) BFF:\s*(\d+) Progressive:\s*(\d+)", report
    )
    if not counts:
        return "progressive"
    top, bottom, progressive = (int(count) for count in counts[-1])
    winner, loser = max(top, bottom), min(top, bottom)
    if winner < MIN_VOTES or winner < DOMINANCE * max(loser, progressive):
        return "progressive"
    return "tff" if top > bottom else "bff"


@functools.cache
def deep_white(range_: str, bit_depth: int) -> int:
    """The 16-bit R'G'B' value that this ffmpeg's scale filter converts white Y'CbCr to.

    65535 where it is right. Every release until now gives about 65280 (255 x 256) for the limited
    range, which is 4 of 1023 too dark, and 65472 for ten bits of the full one. Nothing is lost that
    `pixels.stretch_white` does not put right. The other way, to Y'CbCr of either range and any
    depth, the filter takes the limited range's value for white: `pixels.shrink_white` first.

    Args:
        range_: `tv` or `pc`.
        bit_depth: Of the Y'CbCr side: 9, 10, 12, 14 or 16.
    """
    white = 235 << (bit_depth - 8) if range_ == "tv" else 2**bit_depth - 1
    middle = 1 << (bit_depth - 1)
    area = WHITE_SIDE * WHITE_SIDE
    planes = b"".join(value.to_bytes(2, "little") * area for value in (white, middle, middle))
    size = f"{WHITE_SIDE}x{WHITE_SIDE}"
    pixel_format = f"yuv444p{bit_depth}le"
    arguments = [
        "-f",
        "rawvideo",
        "-pixel_format",
        pixel_format,
        "-video_size",
        size,
        "-i",
        "pipe:0",
    ]
    scale = f"scale=in_range={range_}:in_color_matrix=bt709:flags=accurate_rnd"
    output = ["-vf", scale, "-pix_fmt", "rgb48le", "-f", "rawvideo", "pipe:1"]
    with FfmpegProcess([*arguments, *output], reads_stdin=True) as process:
        process.stdin.write(planes)
        process.stdin.close()
        return int.from_bytes(process.stdout.read()[:2], "little")


def _input_arguments(
    path: Path, container: str, options: Mapping[str, str] | None = None
) -> list[str]:
    """Arguments that open a file; with `options`, instead of those it is opened with elsewhere."""
    demuxer = container.split(",")[0]
    given = opening_options(container) if options is None else options
    opening = [part for name, value in given.items() for part in (f"-{name}", value)]
    return ["-protocol_whitelist", PROTOCOLS, *opening, "-f", demuxer, "-i", file_argument(path)]


def _run(arguments: Sequence[str]) -> str:
    """Ffmpeg's report on a short job; empty when that takes too long."""
    command = ["-loglevel", "verbose", "-nostats", *arguments]
    with FfmpegProcess(command, num_kept_lines=REPORT_LINES) as process:
        try:
            process.wait(TIMEOUT_SECONDS)
        except TimeoutError:
            return ""
        return "\n".join(process.lines)
