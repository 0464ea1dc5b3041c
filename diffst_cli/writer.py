"""Pieces into a finished video file, or into pictures, which appears only when complete and verified."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from diffst_cli.codecs import GIF, MAX_GIF_RATE, PNG, Codec
from diffst_cli.encoding import choose_encoding
from diffst_cli.errors import UsageError
from diffst_cli.gif import gif_loop, make_gif
from diffst_cli.job import UpscaleJob
from diffst_cli.join import join_pictures, list_pieces
from diffst_cli.muxing import mux, place
from diffst_cli.pieces import Piece, PieceSettings
from diffst_cli.probe import VideoInfo
from diffst_cli.receipt import Promise, Receipt, verify, verify_pictures
from diffst_cli.streams import plan_streams
from diffst_cli.target import choose_target, publish_file, publish_pictures, remove
from diffst_cli.timecode import HOLDS_TIMECODE, find_timecode, move_timecode

LIST = "pieces.ffconcat"  # beside the pieces
SHORTEST = Fraction(1, 1000)  # seconds; of a last frame, where times were rounded


class Output:
    """One output of a job: every choice made, and everything refused that can be, when it is made.

    `target`, `encoding` and `streams` tell the choices. Between that and `finish`, its pieces are
    written with `piece_settings`.
    """

    def __init__(self, job: UpscaleJob, info: VideoInfo) -> None:
        """Check the output.

        Args:
            job: What to write, and where.
            info: The source, whose other streams, tags and colour are kept.

        Raises:
            UsageError: The output exists, is the input, or its options do not go together.
            UserError: The folder is missing or closed, or the encoder does not work here.
        """
        size, self._rate = job.output_size(info), job.output_rate(info)
        self._is_constant = job.has_constant_rate(info)
        self.target = choose_target(
            job.output, info, overwrite=job.overwrite, is_folder=job.output_is_folder
        )
        suffix = self.target.suffix
        is_asked = job.fps is not None or job.rate_factor != 1
        check_rate(suffix, self._rate, is_constant=self._is_constant, is_asked=is_asked)
        self._job = job
        self._info = info
        self.streams = plan_streams(info, suffix, job.start)
        self.encoding = choose_encoding(
            info, suffix=suffix, size=size, codec=job.codec, crf=job.crf, preset=job.preset
        )
        check_codec_rate(self.encoding.codec, self._rate)
        self.piece_settings = PieceSettings(
            encoding=self.encoding,
            frame_rate=self._rate,
            constant_rate=self._is_constant,
            deep=info.bytes_per_sample == 2,
        )

    def finish(
        self, pieces: Sequence[Piece], folder: Path, first_time: Fraction, end_time: Fraction
    ) -> Receipt:
        """Join the pieces, add the other streams, verify, and give the file its name.

        Args:
            pieces: All of them, in order.
            folder: That holds them; takes the list of them.
            first_time: Source time of the first frame, seconds.
            end_time: Source time at which the last frame stops being shown, seconds.

        Returns:
            The receipt; unless it is `ok`, there is no output.

        Raises:
            UserError: A step failed; there is no output.
        """
        # Beside the output, because a file keeps its name only within one file system; with the
        # token of the work's folder, so that what a killed run left there goes with this one.
        result = self.target.temporary(folder.name.rpartition("-")[2], self.target.suffix)
        remove(result)
        paths = [folder / self.piece_settings.name(piece.index) for piece in pieces]
        try:
            if self.encoding.codec is PNG:
                return self._finish_pictures(paths, result, first_time)
            starts = [piece.first_time for piece in pieces]
            whole = folder / LIST
            times = list_pieces(list(zip(paths, starts, strict=True)), whole)
            return self._finish_file(whole, result, times, first_time, end_time)
        finally:
            remove(result)

    def _finish_file(
        self,
        whole: Path,
        result: Path,
        times: array[float],
        first_time: Fraction,
        end_time: Fraction,
    ) -> Receipt:
        last = self._last_frame(times, end_time - first_time)
        if self.encoding.codec is GIF:
            shown = None if self._is_constant else last
            make_gif(whole, result, last=shown, loop=gif_loop(self._info))
        else:
            shown_until = first_time + Fraction(times[-1]) + last
            placement = place(
                self._info,
                first_time,
                shown_until,
                start=self._job.start,
                duration=self._job.duration,
                frame_seconds=None if self._is_constant else last,
                frame_rate=self._rate if self._is_constant else None,
                timecode=self._timecode(first_time),
            )
            mux(whole, self._info, self.streams, placement, result)
        receipt = verify(result, self._promise(times, first_time, last), output=self.target.path)
        if receipt.ok:
            publish_file(result, self.target, overwrite=self._job.overwrite)
        return receipt

    def _timecode(self, first_time: Fraction) -> str | None:
        """Label of the first frame, where the input has one and the output a place for it."""
        info, label = self._info, find_timecode(self._info.tags)
        if label is None or self.streams.container.name not in HOLDS_TIMECODE:
            return None
        if info.is_variable:  # whose mean is not what the label counts
            return None
        skipped = first_time - info.start_seconds
        return move_timecode(label, info.frame_rate, skipped, self._rate)

    def _finish_pictures(
        self, folders: Sequence[Path], result: Path, first_time: Fraction
    ) -> Receipt:
        times = array("d", (float(n / self._rate) for n in range(join_pictures(folders, result))))
        promise = self._promise(times, first_time, 1 / self._rate)
        receipt = verify_pictures(result, promise, output=self.target.path)
        if receipt.ok:
            publish_pictures(result, self.target, overwrite=self._job.overwrite)
        return receipt

    def _last_frame(self, times: array[float], length: Fraction) -> Fraction:
        """How long the last frame is shown, seconds: as long as any at a constant rate, else until the end."""
        if self._is_constant:
            return 1 / self._rate
        return max(length - Fraction(times[-1]), SHORTEST)

    def _promise(self, times: array[float], first_time: Fraction, last: Fraction) -> Promise:
        lead = first_time - self._info.origin_seconds
        is_held = self.streams.container.name == "avi" and self._job.start is None and lead > 0
        if is_held:
            # It cannot begin late: its first frame is shown from the beginning, the others when they should be.
            times = array("d", (times[0] - float(lead), *times[1:]))
            first_time = self._info.origin_seconds
        return Promise(
            info=self._info,
            encoding=self.encoding,
            plan=self.streams,
            times=times,
            last_seconds=float(last),
            frame_rate=self._rate,
            constant_rate=self._is_constant,
            first_time=first_time,
            trimmed=self._job.start is not None,
            shortened=self._job.duration is not None,
            is_held=is_held,
        )


def check_rate(suffix: str, frame_rate: Fraction, *, is_constant: bool, is_asked: bool) -> None:
    """Refuse a frame rate that the kind of file cannot hold, `is_asked` where it is not simply the input's.

    Raises:
        UsageError: Saying which rate it can.
    """
    if suffix == ".avi" and not is_constant:
        raise UsageError(
            "an AVI cannot hold a variable frame rate",
            hint="give a constant one with --fps, or name the output .mkv",
        )
    if suffix == ".gif" and frame_rate > MAX_GIF_RATE:
        whose = "were asked for" if is_asked else "are in the input"
        raise UsageError(
            f"players show a GIF at no more than {MAX_GIF_RATE} frames a second, "
            f"and {float(frame_rate):.5g} {whose}",
            hint=f"give --fps {MAX_GIF_RATE}, or name the output .mp4",
        )


def check_codec_rate(codec: Codec, frame_rate: Fraction) -> None:
    """Refuse a frame rate that the codec's encoder does not take.

    Raises:
        UsageError: Saying which rate it takes.
    """
    if codec.max_rate is not None and frame_rate > codec.max_rate:
        raise UsageError(
            f"`{codec.name}` takes no more than {codec.max_rate} frames a second, "
            f"and {float(frame_rate):.5g} were asked for",
            hint=f"give --fps {codec.max_rate}, or `--codec vp9`, which takes them",
        )
