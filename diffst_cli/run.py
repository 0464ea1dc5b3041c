"""The journey of one video: reader -> shots -> clips and timing -> model -> stitch -> writer.

The reader and the writer each have a thread, joined by small bounded channels to the model, which
runs in the caller's: memory does not grow with the video, and decoding and encoding hide behind
the model.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from diffst_cli.channel import Channel, Worker
from diffst_cli.clips import Clip, make_clips
from diffst_cli.errors import UserError
from diffst_cli.interrupts import interrupts_deferred
from diffst_cli.job import SAMPLING, UpscaleJob
from diffst_cli.memory import peak_bytes
from diffst_cli.planner import RunPlan, cannot_load, end_of_last_frame, plan_run
from diffst_cli.progress import Reporter
from diffst_cli.stages import Stages
from diffst_cli.stepping import SteppingModel
from diffst_cli.stitch import OutputFrame, stitch
from diffst_cli.timing import Timeline

if TYPE_CHECKING:
    from torch import Tensor

    from diffst.star.load import Sampling
    from diffst.upscaler import UpscaleModel
    from diffst_cli.pixels import Image
    from diffst_cli.probe import VideoInfo
    from diffst_cli.reader import Frame, FrameReader
    from diffst_cli.receipt import Receipt
    from diffst_cli.writer import VideoWriter

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """What a finished run made, and what it took."""

    input: Path
    output: Path
    size: tuple[int, int]
    """Width and height of the output, in pixels."""
    frame_rate: Fraction
    """Of the output; the average where it varies."""
    frames_in: int
    frames_out: int
    seconds: float
    """From the start to the finished file, loading the model included."""
    stage_seconds: Mapping[str, float]
    """By stage. Reading and writing run beside the model, so the sum exceeds `seconds`."""
    peak_memory_bytes: int
    """Most memory this process held so far, earlier runs included, its ffmpeg processes not."""
    receipt: Receipt

    @property
    def duration_seconds(self) -> float:
        """Length of the output."""
        return float(self.frames_out / self.frame_rate)

    @property
    def output_fps(self) -> float:
        """Output frames made a second."""
        return self.frames_out / self.seconds


def run_job(
    job: UpscaleJob, *, model: UpscaleModel | None = None, reporter: Reporter | None = None
) -> RunSummary:
    """Makes one video from another; the caller looks whether the receipt is `ok`.

    Args:
        job: What to do.
        model: The model, if it is loaded already; else it is loaded once the input and the output
            are known to be good.
        reporter: Told how it goes; None for nobody.

    Raises:
        UserError: The input, the output or the model is not usable, or a stage failed. Nothing is
            left under the output's name then, nor on KeyboardInterrupt.
    """
    reporter = reporter or Reporter()
    reporter.begin(job.input.name)
    try:
        return _Journey(job, reporter).run(model)
    except BrokenPipeError as error:  # Typer would take it for a closed stdout
        raise UserError(
            "ffmpeg stopped unexpectedly", hint="run it again with `--debug`"
        ) from error
    finally:
        reporter.end()


def open_model(job: UpscaleJob) -> UpscaleModel:
    """The model that a job names.

    Raises:
        UserError: It does not exist, was not downloaded, is damaged, or its device is not there.
    """
    from diffst.upscaler import load_model
    from diffst_cli.downloaded import require_ready

    require_ready(job.model)
    try:
        return load_model(
            job.model, device=job.device, precision=job.precision, sampling=sampling_of(job)
        )
    except (ValueError, KeyError, FileNotFoundError) as error:
        reason = error.args[0] if isinstance(error, KeyError) and error.args else error
        raise cannot_load(job.model, reason) from error


def sampling_of(job: UpscaleJob) -> Sampling | None:
    """What a job tells a model that samples; None where it tells nothing."""
    from diffst.star.load import Sampling

    if all(getattr(job, name) is None for name in SAMPLING):
        return None
    return Sampling(num_steps=job.steps, guidance=job.guidance, prompt=job.prompt, seed=job.seed)


class _Journey:
    """One run's way from the input to the output; owns its threads and channels while it runs."""

    def __init__(self, job: UpscaleJob, reporter: Reporter) -> None:
        self._job = job
        self._reporter = reporter
        self._stages = Stages()
        self._frames_in = 0
        self._frames_out = 0

    def run(self, model: UpscaleModel | None) -> RunSummary:
        """Everything, from looking at the input to the checked output."""
        from diffst_cli.probe import probe
        from diffst_cli.reader import read_frames

        started = time.perf_counter()
        job = self._job
        self._reporter.stage("opening")
        info = probe(job.input)
        size = job.output_size(info)
        log.debug("%s: %s", job.input, info)
        with ExitStack() as stack:
            with interrupts_deferred():  # until the writer is ours to clean up
                writer = stack.enter_context(open_writer(job, info))
            if model is None:
                self._reporter.stage("loading the model")
                with self._stages.timed("load"):
                    model = open_model(job)
            plan = plan_run(job, info, model.rules)
            log.debug("%s", plan)
            self._reporter.stage("upscaling")
            reader = read_frames(info, start=job.start, duration=job.duration)
            stepping = SteppingModel(model, plan, self._reporter.warn)
            self._make_frames(info, stepping, plan, reader, writer)
            for message in (reader.report.ended_early, reader.report.damage):
                if message is not None:
                    self._reporter.warn(message)
            self._reporter.stage("finishing")
            with self._stages.timed("finish"):
                receipt = writer.finish()
        for note in receipt.notes:
            self._reporter.warn(note)
        return RunSummary(
            input=job.input,
            output=job.output,
            size=size,
            frame_rate=job.output_rate(info),
            frames_in=self._frames_in,
            frames_out=self._frames_out,
            seconds=time.perf_counter() - started,
            stage_seconds=self._stages.seconds(),
            peak_memory_bytes=peak_bytes(),
            receipt=receipt,
        )

    def _make_frames(
        self,
        info: VideoInfo,
        model: UpscaleModel,
        plan: RunPlan,
        reader: FrameReader,
        writer: VideoWriter,
    ) -> None:
        """Reads, makes and writes every frame, in three threads."""
        width, height = plan.size
        decoded: Channel[tuple[Frame, bool]] = Channel(plan.queue_in)
        finished: Channel[OutputFrame] = Channel(plan.queue_out)
        total = plan.num_frames
        self._reporter.advance(0, total)
        with (
            Worker("writer", lambda: self._write(finished, writer, total), finished) as writing,
            Worker("reader", lambda: self._read(reader, decoded), decoded),
            reader,  # closed first of all, so that its thread does not wait for ffmpeg
        ):
            clips = make_clips(
                decoded,
                Timeline(fps=self._job.fps, fps_x=None if self._job.fps else self._job.rate_factor),
                plan.clip_rules,
                lambda last: self._end_of(last, info, reader),
            )
            for frame in stitch(self._upscale(clips, model, (height, width))):
                finished.put(frame)
            finished.end()
            writing.finish()

    def _end_of(self, last: Frame, info: VideoInfo, reader: FrameReader) -> Fraction:
        """When the last frame stops being shown; a file cut short is not held to its header's end."""
        if reader.report.ended_early is not None and reader.report.end_seconds is not None:
            return reader.report.end_seconds
        return end_of_last_frame(last.time, info, self._job)

    def _read(self, reader: FrameReader, decoded: Channel[tuple[Frame, bool]]) -> None:
        from diffst_cli.shots import split_shots

        frames = self._stages.timed_items("read", split_shots(reader))
        for self._frames_in, (frame, starts_shot) in enumerate(frames, start=1):
            decoded.put((frame, starts_shot))
        decoded.end()

    def _upscale(
        self, clips: Iterable[Clip], model: UpscaleModel, out_size: tuple[int, int]
    ) -> Iterator[tuple[Clip, Tensor]]:
        """Each clip with what the model makes of it."""
        import numpy as np
        import torch

        for clip in clips:
            frames = torch.from_numpy(np.stack([frame.image for frame in clip.frames]))
            with self._stages.timed("model"), torch.inference_mode():
                made = model(
                    frames.permute(0, 3, 1, 2),
                    clip.positions,
                    out_size,
                    self._stages.add,
                    clip.frames[0].index,
                )
            yield clip, made

    def _write(
        self, finished: Channel[OutputFrame], writer: VideoWriter, total: int | None
    ) -> None:
        for frame in finished:
            with self._stages.timed("write"):
                writer.write(interleaved(frame.image), frame.time)
            self._frames_out += 1
            self._reporter.advance(self._frames_out, total)


def interleaved(image: Tensor) -> Image:
    """(3, H, W) as (H, W, 3), copied without torch: its threads belong to the model."""
    import numpy as np

    planes = image.numpy()
    pixels: Image = np.empty((*planes.shape[1:], 3), planes.dtype)
    for channel, plane in enumerate(planes):
        pixels[:, :, channel] = plane
    return pixels


def open_writer(job: UpscaleJob, info: VideoInfo) -> VideoWriter:
    """The writer of a job's output.

    Raises:
        UserError: The output cannot be written, as asked or at all.
    """
    from diffst_cli.writer import OutputSettings, VideoWriter

    settings = OutputSettings(
        path=job.output,
        size=job.output_size(info),
        frame_rate=job.output_rate(info),
        constant_rate=job.fps is not None or not info.is_variable,
        codec=job.codec,
        crf=job.crf,
        preset=job.preset,
        overwrite=job.overwrite,
    )
    return VideoWriter(info, settings, start=job.start, duration=job.duration)


def require_good(summary: RunSummary) -> None:
    """Passes a run whose output is as promised.

    Raises:
        UserError: A check failed, so that there is no output.
    """
    failed = [check for check in summary.receipt.checks if not check.ok]
    if failed:
        worst = failed[0]
        raise UserError(
            f"`{summary.output}` was not kept: its {worst.name} should be {worst.expected}, and is {worst.actual}",
            hint="this is a bug in diffst; please report it with the file that `--receipt` writes",
        )


def write_receipt(path: Path, summary: RunSummary) -> None:
    """Writes what was checked and what it took, as JSON.

    Raises:
        UserError: It cannot be written.
    """
    content = {
        **summary.receipt.to_json(),
        "frames_in": summary.frames_in,
        "frames_out": summary.frames_out,
        "seconds": round(summary.seconds, 3),
        "stage_seconds": {name: round(spent, 3) for name, spent in summary.stage_seconds.items()},
        "peak_memory_bytes": summary.peak_memory_bytes,
    }
    try:
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write the receipt `{path}`: {error.strerror}") from error
