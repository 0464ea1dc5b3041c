"""What the output file will be: container, codec, streams that come along, or why it cannot be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diffst_cli.encoding import Encoding, choose_encoding
from diffst_cli.job import UpscaleJob
from diffst_cli.probe import VideoInfo
from diffst_cli.streams import StreamPlan, plan_streams
from diffst_cli.target import choose_target
from diffst_cli.writer import OutputSettings, check_rate

DEFAULT_SUFFIX = ".mp4"
KEPT_SUFFIXES = (
    ".mp4",
    ".m4v",
    ".mov",
    ".mkv",
    ".webm",
)  # not those that hold few rates or colours


@dataclass(frozen=True, kw_only=True)
class OutputPlan:
    """Everything about an output that is known before the first frame."""

    suffix: str
    """Of the file, with the dot; `.png` for pictures."""
    folder: Path
    """Whose disk is written to."""
    encoding: Encoding
    streams: StreamPlan


def plan_output(job: UpscaleJob, info: VideoInfo, *, is_named: bool) -> OutputPlan:
    """The output of a job, refused for the reasons, and in the words, of `upscale`.

    Args:
        job: What to do.
        info: Its input.
        is_named: Whether the user named the output; otherwise only its kind counts.

    Raises:
        UsageError: The output exists, is the input, or its options do not go together.
        UserError: The folder is missing or closed, or the encoder does not work here.
    """
    suffix, folder = job.output.suffix.lower(), Path.cwd()
    if is_named:
        target = choose_target(job.output, info, overwrite=job.overwrite)
        suffix, folder = target.suffix, target.path.absolute().parent
    constant = job.fps is not None or not info.is_variable
    check_rate(
        suffix,
        OutputSettings(
            path=job.output,
            size=job.output_size(info),
            frame_rate=job.output_rate(info),
            constant_rate=constant,
        ),
    )
    return OutputPlan(
        suffix=suffix,
        folder=folder,
        streams=plan_streams(info, suffix),
        encoding=choose_encoding(
            info,
            suffix=suffix,
            size=job.output_size(info),
            codec=job.codec,
            crf=job.crf,
            preset=job.preset,
        ),
    )


def usual_output(source: Path) -> Path:
    """A name of the kind that fits an input: its own container if it holds any video, else MP4."""
    suffix = source.suffix.lower()
    return Path(f"upscaled{suffix if suffix in KEPT_SUFFIXES else DEFAULT_SUFFIX}")
