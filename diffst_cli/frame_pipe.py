"""RGB frames into an ffmpeg that encodes them, each at its exact time."""

from __future__ import annotations

import logging
import signal
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import av.error
import ffmpeg
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream

from diffst_cli.codecs import PNG
from diffst_cli.colour import CHROMA_POSITIONS, SCALE_MATRICES
from diffst_cli.encoding import Encoding, has_filter
from diffst_cli.errors import LARGER_FILES, UserError
from diffst_cli.ffmpeg import PROTOCOLS, FfmpegProcess, error_lines, file_argument
from diffst_cli.ffmpeg_facts import deep_white
from diffst_cli.pixels import Image, shrink_white
from diffst_cli.probe import Colour

log = logging.getLogger(__name__)

SCALE_FLAGS = "accurate_rnd+full_chroma_int+full_chroma_inp+lanczos"
# The scale filter's matrix names to those of zscale.
ZSCALE_MATRICES = {"bt709": "709", "bt601": "170m", "smpte240m": "240m", "bt2020": "2020_ncl"}
ENDING_SECONDS = 5.0  # that an ffmpeg which takes no more frames has to end by itself
WORK_PATTERN = "%09d.png"  # sorts by number
MAX_ASPECT_TERM = 65535  # what H.264 has room for
# Frames a second that a NUT file is believed to have; what states more gets a guess, by which VP9's encoder finds
# that a frame lasts for no time, and refuses it. It is only stated: each frame has its own time.
FASTEST_STATED = Fraction(999)
VARIABLE_TIME_BASE = Fraction(1, 720_000)  # holds ticks of 1/90000, 1/60000, 1/48000 and 1/1000 s
MIN_TICKS_PER_SECOND = 10_000  # so that even an uneven moment in a constant-rate video is kept
GRID_TOLERANCE = Fraction(1, 1000)  # seconds; what Matroska's rounding does to an even spacing
GRID_SHARE = Fraction(1, 4)  # of the spacing, at most: with more, two frames could get one moment


class FramePipe:
    """A running encoder; owns the ffmpeg process and the file it writes until `close` or `stop`."""

    def __init__(
        self,
        path: Path,
        encoding: Encoding,
        *,
        frame_rate: Fraction,
        constant_rate: bool,
        deep: bool,
    ) -> None:
        """Start the encoder.

        Args:
            path: File to write, whose first frame gets time 0; for pictures, the folder, which exists.
            encoding: How; frames are padded to its size.
            frame_rate: Frames per second, nominal where the rate varies.
            constant_rate: Whether the frames are evenly spaced.
            deep: Whether frames are uint16 rather than uint8.
        """
        self._path = path
        self._encoding = encoding
        self._deep = deep
        is_converted = encoding.colour.matrix != "gbr"
        self._white = deep_white("tv", 10) if deep and is_converted else None
        self._step = 1 / frame_rate if constant_rate else None
        self._time_base = _time_base(frame_rate, constant_rate=constant_rate)
        self._first_tick: int | None = None
        self._last_tick = -1
        self._last_time: Fraction | None = None
        arguments = encode_arguments(path, encoding, self._time_base)
        self._process = FfmpegProcess(arguments, reads_stdin=True)
        self._container, self._stream = self._open(frame_rate)

    def _open(self, frame_rate: Fraction) -> tuple[OutputContainer, VideoStream]:
        container = av.open(self._process.stdin, mode="w", format="nut")
        stream = container.add_stream("rawvideo", rate=min(frame_rate, FASTEST_STATED))
        stream.width, stream.height = self._encoding.size
        stream.pix_fmt = "rgb48le" if self._deep else "rgb24"
        stream.time_base = self._time_base
        return container, stream

    def write(self, image: Image, time: Fraction) -> Fraction:
        """Encode one frame and return the time that it got, in seconds on the clock of `time`.

        Args:
            image: RGB, full range, (H, W, 3), uint8 or uint16, at most a pixel under the coded size.
            time: Seconds from the video's first frame, of which this file may hold a later part.

        Raises:
            UserError: ffmpeg gave up.
        """
        tick = self._tick(time)
        image = _padded(image, self._encoding.size, deep=self._deep)
        if self._white is not None:
            image = shrink_white(image, self._white)
        packet = av.Packet(image.tobytes())
        packet.stream = self._stream
        packet.time_base = self._time_base
        if self._first_tick is None:
            self._first_tick = tick
        packet.pts = packet.dts = tick - self._first_tick
        packet.is_keyframe = True
        try:
            self._container.mux_one(packet)
        except (OSError, ValueError) as error:
            raise self._failure() from error
        self._last_tick, self._last_time = tick, time
        return tick * self._time_base

    def _tick(self, time: Fraction) -> int:
        if self._last_time is not None and time <= self._last_time:
            raise ValueError(f"frame at {time} s is not later than the one before")
        ticks = [round(time / self._time_base), self._last_tick + 1]
        if self._step is not None:
            even = round(time / self._step) * self._step
            tolerance = min(GRID_TOLERANCE, GRID_SHARE * self._step)
            if abs(even - time) <= tolerance:
                ticks.insert(0, round(even / self._time_base))
        # Frames about a duplicate may be so near to each other that only one of them can be made even.
        return next(tick for tick in ticks if tick > self._last_tick)

    def close(self) -> None:
        """Finish the file.

        Raises:
            UserError: ffmpeg failed.
        """
        try:
            self._container.close()
            self._process.stdin.close()
        except (OSError, ValueError) as error:
            raise self._failure() from error
        if self._process.wait() != 0:
            raise self._failure()
        self._process.stop()

    def stop(self) -> None:
        """End the encoder at once; the file stays as it is. Safe to call twice."""
        self._process.stop()

    def _failure(self) -> UserError:
        try:
            status = self._process.wait(ENDING_SECONDS)
        except TimeoutError:
            status = 0  # it lives; what stops it now is this program
        self._process.stop()
        return failure("encoding", self._process.lines, status)


def failure(action: str, lines: Sequence[str], status: int = 1) -> UserError:
    """What to tell the user when ffmpeg, busy `action`, ended with these stderr `lines` and exit status."""
    log.debug("ffmpeg, %s, ended with %d and said:\n%s", action, status, "\n".join(lines))
    if any("No space left on device" in line for line in lines):
        return UserError("the disk is full", hint="free some space in the output's folder")
    if status < 0:
        return _killed(action, -status)
    errors = error_lines(lines) or [line for line in lines if "[warning]" not in line][-1:]
    reason = errors[0].rstrip(".") if errors else "it was stopped"
    return UserError(f"ffmpeg failed while {action}: {reason}", hint="run again with --debug")


def _killed(action: str, number: int) -> UserError:
    """What to tell the user when a signal ended ffmpeg."""
    if number == getattr(signal, "SIGXFSZ", None):
        return UserError(
            f"ffmpeg was stopped while {action}: its file reached the size that is allowed here",
            hint=LARGER_FILES,
        )
    hint = "run it again"
    if number == getattr(signal, "SIGKILL", None):
        hint = "perhaps memory ran out, of which less is needed with a smaller `--scale`"
    return UserError(f"ffmpeg was killed by signal {number} while {action}", hint=hint)


def encode_arguments(path: Path, encoding: Encoding, time_base: Fraction) -> list[str]:
    """Arguments of ffmpeg to turn full-range RGB in a NUT pipe into the encoded file at `path`."""
    video = ffmpeg.input("pipe:0", format="nut", protocol_whitelist=PROTOCOLS).video
    video = _convert(video, encoding)
    is_pictures = encoding.codec is PNG
    pattern = Path(str(path.absolute()).replace("%", "%%")) / WORK_PATTERN
    output = ffmpeg.output(
        video,
        file_argument(pattern if is_pictures else path),
        f="image2" if is_pictures else encoding.codec.work_suffix.removeprefix("."),
        fps_mode="passthrough",
        enc_time_base=_ratio(time_base),
        **encoding.options,
        **_colour_options(encoding),
    )
    arguments: list[str] = output.overwrite_output().get_args()
    return arguments


def _convert(
    video: ffmpeg.nodes.FilterableStream, encoding: Encoding
) -> ffmpeg.nodes.FilterableStream:
    colour = encoding.colour
    if colour.matrix == "gbr":
        video = video.filter("format", encoding.pixel_format)
    elif colour.range == "pc" and encoding.bit_depth == 8 and has_filter("zscale"):
        # The scale filter rounds full-range chroma down, a tint of up to one code value.
        video = video.filter("format", "gbrp").filter("zscale", **_zscale_arguments(colour))
        video = video.filter("format", encoding.pixel_format)
    else:
        video = video.filter("scale", **_scale_arguments(colour))
        video = video.filter("format", encoding.pixel_format)
    video = video.filter("setsar", sar=_ratio(encoding.sample_aspect), max=MAX_ASPECT_TERM)
    tags = {
        "colorspace": colour.matrix,
        "range": colour.range,
        "color_primaries": colour.primaries,
        "color_trc": colour.transfer,
    }
    return video.filter("setparams", **{name: tag for name, tag in tags.items() if tag is not None})


def _scale_arguments(colour: Colour) -> dict[str, str | int]:
    across, down = CHROMA_POSITIONS[_chroma_location(colour)]
    return {
        "in_range": "pc",
        "out_color_matrix": SCALE_MATRICES[str(colour.matrix)],
        "out_range": str(colour.range),
        "flags": SCALE_FLAGS,
        "out_h_chr_pos": across,
        "out_v_chr_pos": down,
    }


def _zscale_arguments(colour: Colour) -> dict[str, str]:
    return {
        "matrixin": "gbr",
        "matrix": ZSCALE_MATRICES[SCALE_MATRICES[str(colour.matrix)]],
        "rangein": "full",
        "range": "full",
        "chromal": _chroma_location(colour),
        "filter": "lanczos",
        "dither": "none",
    }


def _chroma_location(colour: Colour) -> str:
    return colour.chroma_location if colour.chroma_location in CHROMA_POSITIONS else "left"


def _colour_options(encoding: Encoding) -> dict[str, str]:
    colour = encoding.colour
    options = {
        "colorspace": colour.matrix,
        "color_range": colour.range,
        "color_primaries": colour.primaries,
        "color_trc": colour.transfer,
        "chroma_sample_location": colour.chroma_location,
    }
    if colour.matrix == "gbr":
        options["colorspace"] = "rgb"
    return {name: tag for name, tag in options.items() if tag is not None}


def _time_base(frame_rate: Fraction, *, constant_rate: bool) -> Fraction:
    if not constant_rate:
        return VARIABLE_TIME_BASE
    factor = -(-MIN_TICKS_PER_SECOND // frame_rate.numerator)
    return Fraction(1, frame_rate.numerator * factor)


def _padded(image: Image, size: tuple[int, int], *, deep: bool) -> Image:
    """`image` as little-endian samples, its last row and column repeated up to `size`."""
    width, height = size
    dtype = np.dtype("<u2") if deep else np.dtype("u1")
    if image.dtype.newbyteorder("=") != dtype.newbyteorder("="):
        raise ValueError(f"expected {dtype} frames, got {image.dtype}")
    below, right = height - image.shape[0], width - image.shape[1]
    if image.ndim != 3 or image.shape[2] != 3 or not (0 <= below <= 1 and 0 <= right <= 1):
        raise ValueError(f"cannot write a frame of shape {image.shape} into {width}x{height}")
    if below or right:
        image = np.pad(image, ((0, below), (0, right), (0, 0)), mode="edge")
    return image.astype(dtype, copy=False)


def _ratio(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}"
