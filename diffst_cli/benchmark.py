"""How fast upscaling is on this machine, from file to file, by stage."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from diffst_cli.errors import UsageError
from diffst_cli.job import UpscaleJob
from diffst_cli.muxing import run_ffmpeg
from diffst_cli.probe import probe
from diffst_cli.progress import Reporter
from diffst_cli.run import open_model, run_job
from diffst_cli.summary import RunSummary, require_good
from diffst_cli.words import counted, times

DEFAULT_FRAMES = 24
DEFAULT_SIZE = (320, 180)  # of the clip that is made
SYNTHETIC_FPS = 30
MIN_SIDE = 16  # pixels
MOTION = (2, 1)  # pixels a frame, across and down
# Soft coloured blobs, about as hard to encode as a real picture.
TEXTURE = (
    "format=yuv444p,noise=c0s=100:c1s=100:c2s=100:all_seed=7,gblur=sigma=4:steps=2:planes=1,"
    "gblur=sigma=9:planes=6,eq=contrast=12:saturation=4,gblur=sigma=0.6"
)
STAGE_TITLES = {
    "read": "decode the video",
    "scan": "find cuts",
    "model": "model, all of it",
    "cfca": "  CFCA",
    "vrg": "  VRG",
    "encode": "  encode",
    "dit": "  DiT",
    "decode": "  decode",
    "fuse": "  new frames",
    "write": "encode the video",
    "finish": "mux and check",
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to run, and how often; checked when made.

    Raises:
        UsageError: A count is not positive, the size is odd, or there are both a source and a size.
    """

    source: Path | None
    """A video of the user's; None makes one."""
    size: tuple[int, int] | None
    """Width and height of the video that is made; None is `DEFAULT_SIZE`."""
    num_frames: int
    """Of the input: made, or taken from the source's beginning."""
    repeats: int
    make_job: Callable[[Path, Path, Fraction], UpscaleJob]
    """The job of an input, an output and a duration in seconds."""

    def __post_init__(self) -> None:
        if self.num_frames < 1:
            raise UsageError(f"`--frames` is `{self.num_frames}`; it takes 1 or more")
        if self.repeats < 1:
            raise UsageError(f"`--repeats` is `{self.repeats}`; it takes 1 or more")
        if self.source is not None and self.size is not None:
            raise UsageError("`--input-size` is the size of a clip to make, but INPUT is given")
        if self.size is not None and any(side < MIN_SIDE or side % 2 for side in self.size):
            raise UsageError(
                f"`--input-size` is `{_size(self.size)}`; it takes even numbers from {MIN_SIDE}"
            )


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Several measurements of one thing."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of one or more values."""
        return cls(median=statistics.median(values), lowest=min(values), highest=max(values))


@dataclass(frozen=True, kw_only=True)
class Result:
    """What was measured."""

    input_size: tuple[int, int]
    output_size: tuple[int, int]
    frames_in: int
    frames_out: int
    repeats: int
    seconds: Spread
    """From file to file, without loading the model."""
    stage_seconds: dict[str, Spread]
    """By stage. Decoding and encoding run beside the model, so the sum exceeds `seconds`."""
    output_fps: Spread
    megapixels_per_second: Spread
    """Of output."""
    peak_memory_bytes: int
    """Most this process ever held, without its ffmpeg processes."""
    peak_device_bytes: int | None
    """Most torch ever held on the GPU; None on the CPU."""


def measure(plan: Plan, reporter: Reporter) -> Result:
    """Run the plan: once to warm up, then `repeats` times.

    Raises:
        UserError: The source or the model is not usable, or a run failed.
    """
    with tempfile.TemporaryDirectory(prefix="diffst-benchmark-") as name:
        folder = Path(name)
        size = plan.size or DEFAULT_SIZE
        source = plan.source or make_clip(folder / "synthetic.mp4", size, plan.num_frames)
        info = probe(source)
        duration = plan.num_frames / info.frame_rate
        job = plan.make_job(source, folder / "result.mp4", duration)
        model = open_model(job)
        runs = []
        for _ in range(1 + plan.repeats):
            summary = run_job(job, model=model, reporter=reporter)
            require_good(summary)
            job.output.unlink()
            runs.append(summary)
    return summarise(runs[1:], input_size=(info.width, info.height))


def summarise(runs: Sequence[RunSummary], *, input_size: tuple[int, int]) -> Result:
    """The figures of equal runs, at least one."""
    first = runs[0]
    megapixels = first.size[0] * first.size[1] / 1e6
    names = list(first.stage_seconds)
    return Result(
        input_size=input_size,
        output_size=first.size,
        frames_in=first.frames_in,
        frames_out=first.frames_out,
        repeats=len(runs),
        seconds=Spread.of([run.seconds for run in runs]),
        stage_seconds={
            name: Spread.of([run.stage_seconds[name] for run in runs]) for name in names
        },
        output_fps=Spread.of([run.output_fps for run in runs]),
        megapixels_per_second=Spread.of([run.output_fps * megapixels for run in runs]),
        peak_memory_bytes=max(run.peak_memory_bytes for run in runs),
        peak_device_bytes=peak_device_bytes(),
    )


def make_clip(path: Path, size: tuple[int, int], num_frames: int) -> Path:
    """Write a clip of moving texture, H.264 at 30 frames a second, and give its path.

    Raises:
        UserError: ffmpeg cannot make one of this size.
    """
    width, height = size
    motion = f"scroll=horizontal={MOTION[0] / width}:vertical={MOTION[1] / height}"
    texture = f"color=gray:size={width}x{height}:rate={SYNTHETIC_FPS},{TEXTURE}"
    coding = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "18")
    wanted = ("-frames:v", str(num_frames), *coding, str(path))
    source = ("-f", "lavfi", "-i", f"{texture},{motion},format=yuv420p")
    run_ffmpeg([*source, *wanted], f"making a clip of {_size(size)}")
    return path


def report(result: Result) -> str:
    """The figures as lines of text."""
    lines = [
        f"{_size(result.input_size)} to {_size(result.output_size)}, {counted(result.frames_in, 'frame')} to"
        f" {result.frames_out}, measured {times(result.repeats)} after one run to warm up",
        "",
        f"{'seconds':18} {'median':>8} {'lowest':>8} {'highest':>8}",
    ]
    titles = [name for name in STAGE_TITLES if name in result.stage_seconds]
    others = [name for name in result.stage_seconds if name not in STAGE_TITLES]
    rows = [(STAGE_TITLES.get(name, name), result.stage_seconds[name]) for name in titles + others]
    for title, spread in [*rows, ("file to file", result.seconds)]:
        lines.append(f"{title:18} {_figures(spread)}")
    lines += [
        "(decoding and encoding the video run beside the model)",
        "",
        f"{'output frames/s':18} {_figures(result.output_fps)}",
        f"{'output Mpx/s':18} {_figures(result.megapixels_per_second)}",
        f"{'peak memory':18} {result.peak_memory_bytes / 1e9:8.2f} GB",
    ]
    if result.peak_device_bytes is not None:
        lines.append(f"{'peak GPU memory':18} {result.peak_device_bytes / 1e9:8.2f} GB")
    return "\n".join(lines)


def _figures(spread: Spread) -> str:
    return f"{spread.median:8.2f} {spread.lowest:8.2f} {spread.highest:8.2f}"


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def peak_device_bytes() -> int | None:
    """Most that torch ever held on any GPU; None without one."""
    import torch

    if not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return None
    return max(torch.cuda.max_memory_allocated(index) for index in range(torch.cuda.device_count()))
