"""How long a run will take and how large its file will be, and where each figure comes from."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diffst_cli import memory_laws as laws
from diffst_cli.encoding import Encoding
from diffst_cli.planner import RunPlan
from diffst_cli.words import gigabytes

if TYPE_CHECKING:
    from diffst.upscaler import UpscaleModel
    from diffst_cli.probe import VideoInfo
    from diffst_cli.writer import Output

MEASURED, COMPUTED, UNKNOWN = "measured", "computed", "unknown"
TRIAL_PIXELS = 320 * 180  # of the trial's input frames
TRIAL_KEYFRAMES = 3
AROUND_MODEL = 1.15  # file to file over model alone: nano on 2 cores, docs/performance.md
STARTING_SECONDS = 3.0  # loading, opening, checking
# wan-1.3b's time over its operations at the speed of matrix products: see docs/performance.md.
OVER_COUNTED, OVER_COUNTED_CPU = 4.5, 1.3
# Large enough that starting one takes no part of its time; 8192 are 1.4 ms on the fastest GPUs.
MATRIX_SIDES = {"cuda": 8192, "cpu": 512, "mps": 2048}
MATRIX_SECONDS = 0.3
BESIDE_BYTES = 50e6  # that must be free beside what is computed, or a warning is due

# Bits for each output pixel at the codec's default quality. That of `h264` is the median of nano's
# results on 11 real clips, which go from 0.07 to 0.22; the others stand to it as the codecs usually do.
BITS_PER_PIXEL = {
    "h264": 0.17,
    "hevc": 0.13,
    "vp9": 0.13,
    "av1": 0.11,
    "prores": 4.0,
    "ffv1": 8.0,
    "gif": 8.0,
    "png": 10.0,
    "h264_nvenc": 0.20,
    "hevc_nvenc": 0.15,
    "av1_nvenc": 0.13,
}
CRF_PER_HALVING = 6  # rate factor that halves the bits


@dataclass(frozen=True, kw_only=True)
class TimeForecast:
    """How long a run will take."""

    seconds: float | None
    """From the start to the finished file; None when nothing tells."""
    source: str
    """`measured`, `computed` or `unknown`."""
    explanation: str
    """How it was found, in a few words."""


@dataclass(frozen=True, kw_only=True)
class SizeForecast:
    """How large the output will be."""

    video_bytes: int | None
    """Of the finished file; None when its length is not known."""
    working_bytes: int | None
    """Most on the disk at once: the encoded video and the finished file, side by side at the end."""
    free_bytes: int
    """On the disk of the output's folder, now."""

    @property
    def shortage(self) -> str | None:
        """A sentence where the disk may become full, else None."""
        if self.working_bytes is None:
            return None
        needed = self.working_bytes + BESIDE_BYTES
        if needed <= self.free_bytes:
            return None
        return f"the disk may need {gigabytes(needed)}, and has {gigabytes(self.free_bytes)}"


def measured_time(model: UpscaleModel, plan: RunPlan) -> TimeForecast:
    """The time by a trial of a few small frames on this machine, in proportion to input pixels."""
    import torch

    scale = (plan.size[0] / plan.work.frame_size[0], plan.size[1] / plan.work.frame_size[1])
    width, height = plan.work.frame_size
    shrink = min(1.0, (TRIAL_PIXELS / (width * height)) ** 0.5)
    width, height = max(16, round(width * shrink)), max(16, round(height * shrink))
    generator = torch.Generator().manual_seed(0)
    kind = torch.uint8 if plan.work.bytes_per_sample == 1 else torch.uint16
    frames = torch.randint(0, 256, (TRIAL_KEYFRAMES, 3, height, width), generator=generator)
    instants = [(0, 0.0), (0, 0.5), (1, 0.0), (1, 0.5)]
    out_size = (round(height * scale[1]), round(width * scale[0]))
    spent = 0.0
    with torch.inference_mode():
        for _ in range(2):  # the first one warms up
            started = time.perf_counter()
            model(frames.to(kind), instants, out_size)
            spent = time.perf_counter() - started
    each = spent / len(instants) * plan.work.frame_pixels / (width * height)
    seconds = None
    if plan.num_frames is not None:
        seconds = STARTING_SECONDS + plan.num_frames * each * AROUND_MODEL
    return TimeForecast(
        seconds=seconds,
        source=MEASURED,
        explanation=f"by a trial of {len(instants)} frames of {width}x{height} here, now",
    )


def computed_time(plan: RunPlan) -> TimeForecast:
    """wan-1.3b's time from its counted operations and this machine's speed at matrix products."""
    window = plan.rung.limits.window_frames or plan.work.clip_frames
    pixels, decoder = plan.size[0] * plan.size[1], plan.work.decoder
    operations = sum(laws.wan_operations(pixels, window, decoder=decoder).values())
    matrices = matrix_rate(plan.device, plan.precision)
    rate = matrices / (OVER_COUNTED if plan.device.startswith("cuda") else OVER_COUNTED_CPU)
    seconds = None
    if plan.num_frames is not None:
        seconds = STARTING_SECONDS + plan.num_frames / window * operations / rate
    return TimeForecast(
        seconds=seconds,
        source=COMPUTED,
        explanation=f"from counted operations, {operations / window / 1e12:.1f} TFLOP a frame, at "
        f"{rate / 1e12:.2g} TFLOP/s (matrix products here reach {matrices / 1e12:.2g})",
    )


def unknown_time() -> TimeForecast:
    """For models of which there are no figures."""
    return TimeForecast(
        seconds=None, source=UNKNOWN, explanation="there are no figures for this model yet"
    )


def matrix_rate(device: str, precision: str) -> float:
    """Floating-point operations a second of large matrix products on this machine, measured."""
    import torch

    from diffst.upscaler import PRECISIONS

    side = MATRIX_SIDES[device.partition(":")[0]]
    # Of random values: a GPU's clock is higher where all are the same.
    left = torch.rand(side, side, device=device).to(PRECISIONS[precision])

    def product() -> None:
        left @ left
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)

    product()
    products, spent = 0, 0.0
    started = time.perf_counter()
    while spent < MATRIX_SECONDS:
        product()
        products += 1
        spent = time.perf_counter() - started
    return 2 * side**3 * products / spent


def forecast_disk(
    plan: RunPlan, output: Output, info: VideoInfo, *, crf: float | None
) -> SizeForecast:
    """What an output will take of its folder's disk."""
    free = shutil.disk_usage(output.target.place).free
    return forecast_size(plan, output.encoding, info, crf=crf, free=free)


def forecast_size(
    plan: RunPlan, encoding: Encoding, info: VideoInfo, *, crf: float | None, free: int
) -> SizeForecast:
    """The size of the video by usual bits for each pixel, and of all else as it is in the source."""
    if plan.num_frames is None:
        return SizeForecast(video_bytes=None, working_bytes=None, free_bytes=free)
    codec = encoding.codec
    bits = BITS_PER_PIXEL[codec.name]
    if crf is not None and codec.crf is not None:
        bits *= 2 ** ((codec.crf - crf) / CRF_PER_HALVING)
    video = bits / 8 * encoding.size[0] * encoding.size[1] * plan.num_frames
    if encoding.bit_depth > 8 and codec.crf is None:
        video *= encoding.bit_depth / 8
    total = round(video + _other_bytes(info))
    return SizeForecast(video_bytes=total, working_bytes=total + round(video), free_bytes=free)


def _other_bytes(info: VideoInfo) -> int:
    """Audio and the like, at most: what the source's file holds beside a picture stream of its share."""
    num_sound = sum(stream.kind == "audio" for stream in info.streams)
    seconds = float(info.duration_seconds or 0)
    return round(num_sound * seconds * 16_000)  # 128 kbit a second each
