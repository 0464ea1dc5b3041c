"""The encoded pieces of an output: one file, or one folder of pictures, for each segment."""

from __future__ import annotations

import secrets
from array import array
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from diffst_cli.checks import read_packets
from diffst_cli.codecs import GIF, PNG
from diffst_cli.encoding import Encoding
from diffst_cli.errors import UserError
from diffst_cli.frame_pipe import FramePipe
from diffst_cli.hashing import sha256
from diffst_cli.pixels import Image
from diffst_cli.target import remove

PART = ".part-"  # begins the name of a piece that is not finished


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A finished piece, as the manifest remembers it."""

    index: int
    """Of its segment."""
    num_frames: int
    first_time: Fraction
    """Of its first frame, seconds from the output's first."""
    sha256: str
    """Of the file, or of all its pictures in order."""


@dataclass(frozen=True, kw_only=True)
class PieceSettings:
    """How every piece of one output is encoded."""

    encoding: Encoding
    frame_rate: Fraction
    """Frames per second, nominal where the rate varies."""
    constant_rate: bool
    deep: bool
    """Whether frames are uint16 rather than uint8."""

    def name(self, index: int) -> str:
        """File name of a piece; pictures have a folder."""
        return f"{index:06d}{self.encoding.codec.work_suffix}"


class PieceWriter:
    """One piece being written; owns its unfinished file until `finish`, or until it is stopped.

    A piece starts with a keyframe, refers to nothing outside itself, and has times from 0 on.
    """

    def __init__(self, folder: Path, index: int, settings: PieceSettings) -> None:
        """Start the encoder."""
        self._index = index
        self._settings = settings
        self._path = folder / settings.name(index)
        self._part = folder / f"{PART}{secrets.token_hex(4)}-{settings.name(index)}"
        self._times = array("d")
        self._first_time: Fraction | None = None
        if settings.encoding.codec is PNG:
            self._part.mkdir()
        try:
            self._pipe = FramePipe(
                self._part,
                settings.encoding,
                frame_rate=settings.frame_rate,
                # A GIF counts hundredths of a second, which few constant rates have for a unit.
                constant_rate=settings.constant_rate and settings.encoding.codec is not GIF,
                deep=settings.deep,
            )
        except BaseException:
            remove(self._part)
            raise

    def write(self, image: Image, time: Fraction) -> None:
        """Add one frame.

        Args:
            image: RGB, full range, (H, W, 3); uint8, or uint16 where the source has more than 8 bits.
            time: Seconds from the output's first frame, later than the frame before.

        Raises:
            UserError: The encoder gave up, as on a full disk.
        """
        written = self._pipe.write(image, time)
        if self._first_time is None:
            self._first_time = written
        self._times.append(float(written - self._first_time))

    def finish(self) -> Piece:
        """Close the encoder, read the piece back, and give it its name.

        Raises:
            UserError: The encoder failed, or the piece does not hold what was written.
        """
        assert self._first_time is not None
        self._pipe.close()
        num_read = self._count()
        if num_read != len(self._times):
            raise UserError(
                f"the encoder kept {num_read} of {len(self._times)} frames", hint="run it again"
            )
        sha256 = hash_piece(self._part)
        remove(self._path)
        self._part.rename(self._path)
        return Piece(
            index=self._index,
            num_frames=len(self._times),
            first_time=self._first_time,
            sha256=sha256,
        )

    def _count(self) -> int:
        """Frames that the piece holds at the times at which they were written."""
        if self._part.is_dir():
            return sum(1 for _ in self._part.iterdir())
        read = read_packets(self._part, 0).video_times
        half_tick = 0.5e-6
        return sum(abs(a - b) < half_tick for a, b in zip(read, self._times, strict=False))

    def stop(self) -> None:
        """End the encoder at once and remove what is unfinished. Safe to call twice, and after `finish`."""
        self._pipe.stop()
        remove(self._part)

    def __enter__(self) -> PieceWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def hash_piece(path: Path) -> str:
    """SHA-256 of a piece: of the file, or of its pictures in order.

    Raises:
        OSError: It cannot be read.
    """
    return sha256(*(sorted(path.iterdir()) if path.is_dir() else (path,)))
