"""Training clips in and out of ffmpeg: RGB with one stated colour matrix both ways, so that colours stay exact.

Runs the ffmpeg that imageio-ffmpeg brings, so that the same recipe gives the same cache on every machine; another one
where `IMAGEIO_FFMPEG_EXE` names it, or where none came with the package and one is on the PATH.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

import av
import av.error
import imageio_ffmpeg
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from diffst.containers import CLOSED, PROTOCOLS
from diffst.training.degradation import Codec

EXACT = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
# By H.273's matrix number, the names that ffmpeg's scale filter takes.
MATRICES = {
    1: "bt709",
    4: "fcc",
    5: "smpte170m",
    6: "smpte170m",
    7: "smpte240m",
    9: "bt2020",
}
UNSTATED = (0, 2)  # RGB, which has none, and "unspecified"
# The mpeg2 encoder knows only broadcast rates; the rate does not matter at a fixed quantiser.
FIXED_RATE_ENCODERS = {"mpeg2video": Fraction(25)}


@dataclass(frozen=True, kw_only=True)
class ClipInfo:
    """What decoding a clip needs to know of it."""

    path: Path
    width: int
    height: int
    frame_rate: Fraction
    matrix: str
    """ffmpeg's name of the YUV matrix; guessed from the height when the file does not state it."""


def read_info(path: Path) -> ClipInfo:
    """Read a clip's size as it is shown, rate and matrix from its headers and first frame.

    Raises:
        ValueError: It cannot be read, has no frame, or a colour matrix that is not known here.
    """
    with open_video(path) as container:
        return _info(container, path)


@contextmanager
def open_video(path: Path, data: bytes | None = None) -> Iterator[InputContainer]:
    """A video, or `data` that lie in that file, opened so that libav opens no other file, whatever is in it.

    Raises:
        ValueError: It cannot be read, now or later.
    """
    try:
        with open_file(path) if data is None else BytesIO(data) as file:
            try:
                container = av.open(file, "r", options=dict(CLOSED), metadata_errors="replace")
            except av.error.ArgumentError as error:
                raise ValueError(
                    f"cannot read `{path}`: it is a playlist, or no video that is known here"
                ) from error
            with container:
                yield container
    except (av.error.FFmpegError, OSError) as error:
        raise ValueError(f"cannot read `{path}`: {words_of(error)}") from error


def open_file(path: Path) -> BinaryIO:
    """A file to read; a device or pipe, which may have no end, is none.

    Raises:
        OSError: There is none that can be read.
        ValueError: It is not a regular file.
    """
    if not S_ISREG(path.stat().st_mode):
        raise ValueError(f"cannot read `{path}`: it is not a regular file")
    return path.open("rb")


def _info(container: InputContainer, path: Path) -> ClipInfo:
    if not container.streams.video:
        raise ValueError(f"there is no video in `{path}`")
    stream = container.streams.video[0]
    guess = "bt709" if stream.height >= 720 else "smpte170m"
    number = int(stream.codec_context.colorspace)
    if number not in (*MATRICES, *UNSTATED):
        raise ValueError(f"`{path}` has a colour matrix that is not known here, number {number}")
    matrix = MATRICES.get(number, guess)
    rate = Fraction(stream.average_rate or 25)
    first = next(container.decode(stream), None)
    if first is None:
        raise ValueError(f"no frame of `{path}` can be decoded")
    is_on_its_side = round(first.rotation / 90) % 2
    width, height = (stream.width, stream.height)[:: -1 if is_on_its_side else 1]
    return ClipInfo(path=path, width=width, height=height, frame_rate=rate, matrix=matrix)


def words_of(error: Exception) -> str:
    """What a library says of a file that it cannot read."""
    return (getattr(error, "strerror", None) or str(error)).lower()


def read_clip(info: ClipInfo, *, divisor: int = 1) -> NDArray[np.uint8]:
    """Decode a whole clip, (T, H, W, 3) RGB, shrunk `divisor` times each way.

    Raises:
        ValueError: It cannot be decoded.
    """
    width, height = info.width // divisor, info.height // divisor
    try:
        return _decode(info.path, (height, width), info.matrix)
    except RuntimeError as error:
        raise ValueError(f"cannot read `{info.path}`: {error}") from error


def code_round_trip(
    frames: NDArray[np.uint8], codec: Codec, *, frame_rate: Fraction, matrix: str
) -> NDArray[np.uint8]:
    """Code frames as 8-bit 4:2:0 video and decode them: what a user's file would hold.

    Args:
        frames: (T, H, W, 3) RGB, H and W even.
        codec: How to code them.
        frame_rate: Frames a second; rate control depends on it.
        matrix: ffmpeg's name of the YUV matrix.

    Raises:
        RuntimeError: ffmpeg failed, or gave another number of frames.
    """
    _, height, width, _ = frames.shape
    rate = FIXED_RATE_ENCODERS.get(codec.encoder, frame_rate)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "coded.mkv"
        raw = [
            "-f",
            "rawvideo",
            "-pix_fmt",
            "rgb24",
            "-s",
            f"{width}x{height}",
            "-r",
            str(rate),
            "-i",
            "pipe:0",
        ]
        scale = f"scale=flags={EXACT}:out_color_matrix={matrix}:out_range=tv,format=yuv420p"
        coder = [
            "-c:v",
            codec.encoder,
            *codec.arguments,
            "-threads",
            "1",
            "-fps_mode",
            "passthrough",
        ]
        _run([*raw, "-vf", scale, *coder, str(path)], frames)
        decoded = _decode(path, (height, width), matrix)
    if len(decoded) != len(frames):
        raise RuntimeError(f"{codec.encoder} gave {len(decoded)} frames for {len(frames)}")
    return decoded


def _decode(path: Path, size: tuple[int, int], matrix: str) -> NDArray[np.uint8]:
    height, width = size
    scale = (
        f"scale={width}:{height}:flags={EXACT}:in_color_matrix={matrix}:in_range=tv,format=rgb24"
    )
    output = ["-fps_mode", "passthrough", "-f", "rawvideo", "pipe:1"]
    only = ["-protocol_whitelist", PROTOCOLS, "-format_whitelist", CLOSED["format_whitelist"]]
    source = [
        "-i",
        f"file:{path.absolute()}",
    ]  # a name may look like another protocol, or an option
    data = _run([*only, *source, "-vf", scale, *output], None)
    return np.frombuffer(data, np.uint8).reshape(-1, height, width, 3)


def _run(arguments: list[str], frames: NDArray[np.uint8] | None) -> bytes:
    quiet = [
        "-hide_banner",
        "-loglevel",
        "error",
        "-nostats",
        "-threads",
        "1",
        "-filter_threads",
        "1",
    ]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), *quiet, *arguments]
    source = None if frames is None else np.ascontiguousarray(frames).data.cast("B")
    stdin = subprocess.DEVNULL if source is None else None
    result = subprocess.run(command, input=source, stdin=stdin, capture_output=True, check=False)
    if result.returncode:
        raise RuntimeError(f"ffmpeg failed: {result.stderr.decode(errors='replace').strip()}")
    return result.stdout
