"""What a finished run made, and what it took, for whoever asked for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from diffst_cli.errors import UserError
from diffst_cli.report_files import write_report

if TYPE_CHECKING:
    from diffst_cli.receipt import Receipt


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
    frames_resumed: int = 0
    """Of those, made by earlier runs."""
    seconds: float
    """Of this run, from the start to the finished file, loading the model included."""
    stage_seconds: Mapping[str, float]
    """By stage. Reading and writing run beside the model, so the sum exceeds `seconds`."""
    peak_memory_bytes: int
    """Most memory this process held so far, earlier runs included, its ffmpeg processes not."""
    receipt: Receipt

    @property
    def duration_seconds(self) -> float:
        """Length of the output, as it was read back; of pictures, as their rate has it."""
        length = self.receipt.length
        return float(self.frames_out / self.frame_rate) if length is None else length

    @property
    def output_fps(self) -> float:
        """Output frames that this run made a second."""
        return (self.frames_out - self.frames_resumed) / self.seconds


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


def receipt_of(summary: RunSummary) -> dict[str, object]:
    """What was checked and what it took, as plain values for `json.dumps`."""
    return {
        **summary.receipt.to_json(),
        "frames_in": summary.frames_in,
        "frames_out": summary.frames_out,
        "frames_resumed": summary.frames_resumed,
        "seconds": round(summary.seconds, 3),
        "stage_seconds": {name: round(spent, 3) for name, spent in summary.stage_seconds.items()},
        "peak_memory_bytes": summary.peak_memory_bytes,
    }


def write_receipt(path: Path, summary: RunSummary) -> None:
    """Writes `receipt_of` a run as JSON.

    Raises:
        UserError: It cannot be written.
    """
    text = json.dumps(receipt_of(summary), indent=1, ensure_ascii=False)
    # A byte of a name that is no UTF-8 becomes JSON's own escape of it.
    write_report(path, f"{text}\n".encode(errors="backslashreplace"))
