"""Writing test clips through `Output`, and reading results back, in a line or two."""

import itertools
import tempfile
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from diffst_cli.job import UpscaleJob
from diffst_cli.muxing import run_ffmpeg
from diffst_cli.pieces import PieceWriter
from diffst_cli.pixels import Image
from diffst_cli.probe import VideoInfo, probe
from diffst_cli.receipt import Receipt
from diffst_cli.writer import Output

TONE = "sine=frequency=440:sample_rate=48000"


def make(path: Path, *arguments: str) -> Path:
    """A file made by ffmpeg from `arguments`, which end before the output's name."""
    run_ffmpeg(["-y", *arguments, str(path)], "making a test clip")
    return path


def make_clip(path: Path, *arguments: str, size: str = "64x48", num_frames: int = 10) -> Path:
    """A small moving picture at 25 fps, H.264 unless `arguments` say otherwise."""
    source = f"testsrc2=size={size}:rate=25:duration={num_frames / 25}"
    return make(path, "-f", "lavfi", "-i", source, *arguments)


def job_for(info: VideoInfo, path: Path, **changes: Any) -> UpscaleJob:
    """A job that keeps the source's size and rate, apart from `changes`."""
    values = {
        "size": (info.width, info.height),
        "preset": "ultrafast" if path.suffix not in (".webm", ".gif", ".png", "") else None,
    }
    return UpscaleJob(input=info.path, output=path, **{**values, **changes})


def write(
    info: VideoInfo,
    job: UpscaleJob,
    frames: Iterable[tuple[Image, Fraction]],
    *,
    cuts: Sequence[int] = (),
) -> Receipt:
    """Write `frames` in pieces that begin at the frames `cuts`, and finish."""
    output = Output(job, info)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        listed = list(frames)
        borders = [0, *cuts, len(listed)]
        pieces = []
        for index, (begin, end) in enumerate(itertools.pairwise(borders)):
            with PieceWriter(folder, index, output.piece_settings) as writer:
                for image, time in listed[begin:end]:
                    writer.write(image, time - listed[0][1])
                pieces.append(writer.finish())
        ends_at = listed[-1][1] + 1 / job.output_rate(info)
        return output.finish(pieces, folder, listed[0][1], ends_at)


def grey_frames(
    info: VideoInfo, size: tuple[int, int], times: Iterable[Fraction]
) -> Iterable[tuple[Image, Fraction]]:
    """One grey frame at each of `times`, brighter from frame to frame."""
    width, height = size
    dtype = np.uint8 if info.bytes_per_sample == 1 else np.uint16
    for index, time in enumerate(times):
        yield np.full((height, width, 3), 40 + index, dtype), time


def copy_video(
    source: Path,
    output: Path,
    *,
    start: Fraction | None = None,
    duration: Fraction | None = None,
    **changes: Any,
) -> Receipt:
    """Write as many grey frames as `source` has, at its own times, with all else it has."""
    info = probe(source)
    begin = info.origin_seconds + (start or 0)
    end = begin + duration if duration is not None else None
    times = [time for time in frame_times(source) if time >= begin and (end is None or time < end)]
    job = job_for(info, output, start=start, duration=duration, **changes)
    return write(info, job, grey_frames(info, job.output_size(info), times))


def frame_times(path: Path) -> list[Fraction]:
    """Presentation times of the main video stream's packets, ascending, in seconds."""
    info = probe(path)
    with av.open(str(path)) as container:
        stream = container.streams[info.stream_index]
        packets = [packet for packet in container.demux(stream) if packet.pts is not None]
        return sorted(packet.pts * packet.time_base for packet in packets)


def leftovers(folder: Path) -> list[str]:
    """Names in `folder` that only an unfinished output would have."""
    return sorted(entry.name for entry in folder.iterdir() if "diffst-" in entry.name)
