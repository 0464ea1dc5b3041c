"""Frames into a finished video file, or into pictures, which appears only when complete and verified."""

from __future__ import annotations

import secrets
from array import array
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType

from diffst_cli.codecs import GIF, MAX_GIF_RATE, PNG
from diffst_cli.encoding import choose_encoding
from diffst_cli.errors import UsageError, UserError
from diffst_cli.frame_pipe import FramePipe
from diffst_cli.muxing import make_gif, mux, place
from diffst_cli.pixels import Image
from diffst_cli.probe import VideoInfo
from diffst_cli.receipt import Promise, Receipt, verify, verify_pictures
from diffst_cli.streams import plan_streams
from diffst_cli.target import choose_target, publish_file, publish_pictures, remove


@dataclass(frozen=True, kw_only=True)
class OutputSettings:
    """What the user wants written, and where."""

    path: Path
    size: tuple[int, int]
    """Width and height in pixels."""
    frame_rate: Fraction
    """Frames per second, nominal where the rate varies."""
    constant_rate: bool
    """Whether the frames are evenly spaced."""
    codec: str | None = None
    """A name from `encoding.CODECS`, or None for the best choice."""
    crf: float | None = None
    """Rate factor, lower is better; None for the codec's default."""
    preset: str | None = None
    """The encoder's word for speed; None for its default."""
    overwrite: bool = False


class VideoWriter:
    """One output being written; owns its temporary files until `finish`, or until it is left.

    Everything that can be refused is refused when it is made, before any slow work. Use as a
    context manager: leaving it without `finish` removes every trace.
    """

    def __init__(
        self,
        info: VideoInfo,
        settings: OutputSettings,
        *,
        start: Fraction | None = None,
        duration: Fraction | None = None,
    ) -> None:
        """Check the output and start the encoder.

        Args:
            info: The source, whose other streams, tags and colour are kept.
            settings: What to write.
            start: Where in the source the frames begin, seconds; None for its beginning.
            duration: How much of the source they cover, seconds; None for all the rest.

        Raises:
            UsageError: The output exists, is the input, or its options do not go together.
            UserError: The folder is missing or closed, or the encoder does not work here.
        """
        self._target = choose_target(settings.path, info, overwrite=settings.overwrite)
        suffix = self._target.suffix
        check_rate(suffix, settings)
        self._info = info
        self._settings = settings
        self._cut = (start, duration)
        self._plan = plan_streams(info, suffix)
        self._encoding = choose_encoding(
            info,
            suffix=suffix,
            size=settings.size,
            codec=settings.codec,
            crf=settings.crf,
            preset=settings.preset,
        )
        self._times = array("d")
        self._first_time: Fraction | None = None
        token = secrets.token_hex(4)
        work_suffix = self._encoding.codec.work_suffix
        self._video = self._target.temporary(token, f".video{work_suffix}")
        self._result = self._target.temporary(token, suffix)
        self._pipe = self._start()

    def _start(self) -> FramePipe:
        if self._encoding.codec is PNG:
            self._video.mkdir()
        try:
            return FramePipe(
                self._video,
                self._encoding,
                frame_rate=self._settings.frame_rate,
                # A GIF counts hundredths of a second, which few constant rates have for a unit.
                constant_rate=self._settings.constant_rate and self._encoding.codec is not GIF,
                deep=self._info.bytes_per_sample == 2,
            )
        except BaseException:
            remove(self._video)
            raise

    def write(self, image: Image, time: Fraction) -> None:
        """Add one frame.

        Args:
            image: RGB, full range, (H, W, 3); uint8, or uint16 where the source has more than 8 bits.
            time: Seconds on the source's time line, later than the frame before.

        Raises:
            UserError: The encoder gave up, as on a full disk.
        """
        if self._first_time is None:
            self._first_time = time
        self._times.append(float(self._pipe.write(image, time - self._first_time)))

    def finish(self) -> Receipt:
        """Close the encoder, add the other streams, verify, and give the file its name.

        Returns:
            The receipt; unless it is `ok`, there is no output.

        Raises:
            UserError: No frame was written, or a step failed; there is no output.
        """
        try:
            if self._first_time is None:
                raise UserError(f"no frame to write to `{self._settings.path}`")
            self._pipe.close()
            if self._encoding.codec is PNG:
                return self._finish_pictures(self._first_time)
            return self._finish_file(self._first_time)
        finally:
            self.abort()

    def _finish_file(self, first_time: Fraction) -> Receipt:
        if self._encoding.codec is GIF:
            make_gif(self._video, self._result)
        else:
            start, duration = self._cut
            lasts = Fraction(self._times[-1]) + 1 / self._settings.frame_rate
            placement = place(
                self._info, first_time, first_time + lasts, start=start, duration=duration
            )
            mux(self._video, self._info, self._plan, placement, self._result)
        receipt = verify(self._result, self._promise(first_time), output=self._target.path)
        if receipt.ok:
            publish_file(self._result, self._target, overwrite=self._settings.overwrite)
        return receipt

    def _finish_pictures(self, first_time: Fraction) -> Receipt:
        receipt = verify_pictures(self._video, self._promise(first_time), output=self._target.path)
        if receipt.ok:
            publish_pictures(self._video, self._target, overwrite=self._settings.overwrite)
        return receipt

    def _promise(self, first_time: Fraction) -> Promise:
        return Promise(
            info=self._info,
            encoding=self._encoding,
            plan=self._plan,
            times=self._times,
            frame_rate=self._settings.frame_rate,
            constant_rate=self._settings.constant_rate,
            first_time=first_time,
            trimmed=self._cut[0] is not None,
            shortened=self._cut[1] is not None,
        )

    def abort(self) -> None:
        """Stop the encoder and remove every temporary file. Safe to call twice, and after `finish`."""
        self._pipe.stop()
        remove(self._video)
        remove(self._result)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abort()


def check_rate(suffix: str, settings: OutputSettings) -> None:
    """Refuse a frame rate that the kind of file cannot hold.

    Raises:
        UsageError: Saying which rate it can.
    """
    if suffix == ".avi" and not settings.constant_rate:
        raise UsageError(
            "an AVI cannot hold a variable frame rate",
            hint="give a constant one with --fps, or name the output .mkv",
        )
    if suffix == ".gif" and settings.frame_rate > MAX_GIF_RATE:
        raise UsageError(
            f"players show a GIF at no more than {MAX_GIF_RATE} frames a second, "
            f"and {float(settings.frame_rate):.5g} were asked for",
            hint=f"give --fps {MAX_GIF_RATE}, or name the output .mp4",
        )
