"""What was promised against what is in the finished file: a short list of checks."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from diffst_cli.checks import (
    Check,
    Promise,
    check_offsets,
    check_picture,
    check_size,
    check_streams,
    check_times,
    read_packets,
    same,
)
from diffst_cli.probe import probe
from diffst_cli.tags import lost_note
from diffst_cli.timecode import lost_timecode

__all__ = ["Check", "Promise", "Receipt", "verify", "verify_pictures"]


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """Everything that was checked in one finished output."""

    input: Path
    output: Path
    checks: tuple[Check, ...]
    notes: tuple[str, ...]
    """What was changed or left out on purpose, and the remedy."""
    length: float | None = None
    """Of the video as it was read back, seconds; None of pictures."""

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(check.ok for check in self.checks)

    def to_json(self) -> dict[str, object]:
        """The receipt as plain values, for `json.dumps`."""
        return {
            "input": str(self.input),
            "output": str(self.output),
            "ok": self.ok,
            "checks": [asdict(check) for check in self.checks],
            "notes": list(self.notes),
        }


def verify(path: Path, promise: Promise, *, output: Path) -> Receipt:
    """Probe the finished file at `path`, count its packets, and compare with `promise`.

    Args:
        path: The file, still under its temporary name.
        promise: What it must be.
        output: Its final name, for the receipt.

    Raises:
        UserError: The file cannot be read back at all.
    """
    actual = probe(path)
    packets = read_packets(path, actual.stream_index)
    checks = [
        check_size(promise, actual),
        *check_times(promise, packets),
        *check_picture(promise, actual),
        *check_streams(promise, actual),
        *check_offsets(promise, actual, packets),
    ]
    lost = lost_note(promise.info.tags, actual.tags, promise.plan.container.name)
    lost += lost_timecode(promise.info.tags, actual.tags, promise.plan.container.name)
    notes = (*promise.encoding.notes, *promise.plan.notes, *lost)
    times = packets.video_times
    return Receipt(
        input=promise.info.path,
        output=output,
        checks=tuple(checks),
        notes=notes,
        length=packets.video_end - times[0] if times else None,
    )


def verify_pictures(folder: Path, promise: Promise, *, output: Path) -> Receipt:
    """Count the finished pictures, alone in `folder`, and compare the first with `promise`.

    Raises:
        UserError: There is none, or it cannot be read.
    """
    actual = probe(folder)
    depth = same("bit depth", promise.encoding.bit_depth, actual.bit_depth)
    checks = (
        check_size(promise, actual),
        same("frames", len(promise.times), len(actual.images)),
        depth,
    )
    notes = (*promise.encoding.notes, *promise.plan.notes)
    return Receipt(input=promise.info.path, output=output, checks=checks, notes=notes)
