"""A GIF: its colours, chosen from all frames, how long its last one is shown, and how often it repeats."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import ffmpeg

from diffst_cli.ffmpeg import file_argument
from diffst_cli.muxing import read_here, run_ffmpeg
from diffst_cli.probe import VideoInfo

LONGEST_DELAY = 65535  # hundredths of a second
LOOP = b"\x21\xff\x0bNETSCAPE2.0\x03\x01"  # what is before the number of repetitions
HEAD = 65536  # bytes in which it is found


def gif_loop(info: VideoInfo) -> int:
    """How often a GIF that is made of `info` is to be repeated, as ffmpeg counts: -1 never, 0 for ever."""
    if info.container != "gif":
        return 0
    with info.path.open("rb") as file:
        _, mark, rest = file.read(HEAD).partition(LOOP)
    return int.from_bytes(rest[:2], "little") if mark else -1


def make_gif(video: Path, output: Path, *, last: Fraction | None = None, loop: int = 0) -> None:
    """Write a GIF of `video`, a file or a list as for `mux`, its 256 colours chosen from all frames.

    Two passes over the file, so that memory does not grow with length.

    Args:
        video: What to paint.
        output: The GIF.
        last: Seconds for which the last frame is shown; None as long as the one before.
        loop: As `gif_loop` gives it.

    Raises:
        UserError: ffmpeg failed.
    """
    palette = video.with_name(f"{video.name}.palette.png")
    try:
        colours = read_here(video).filter("palettegen", reserve_transparent=0, stats_mode="full")
        output_palette = ffmpeg.output(
            colours, file_argument(palette), f="image2", update=1, **{"frames:v": 1}
        )
        arguments = output_palette.overwrite_output().get_args()
        run_ffmpeg(arguments, "choosing the GIF's colours", folder=video.parent)
        painted = ffmpeg.filter(
            [read_here(video), read_here(palette)], "paletteuse", dither="sierra2_4a"
        )
        finished = ffmpeg.output(
            painted,
            file_argument(output),
            f="gif",
            fps_mode="passthrough",
            enc_time_base="1/100",
            loop=loop,
            final_delay=-1 if last is None else min(round(100 * last), LONGEST_DELAY),
        )
        arguments = finished.overwrite_output().get_args()
        run_ffmpeg(arguments, "writing the GIF", folder=video.parent)
    finally:
        palette.unlink(missing_ok=True)
