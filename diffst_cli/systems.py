"""The upscalers that `diffst evaluate` compares, each a command from one file to another."""

import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from diffst_cli.errors import UsageError, UserError
from diffst_cli.measuring import read_from
from diffst_cli.tracks import COLOUR_FILTER, COLOUR_TAGS, FPS_FACTOR, SCALE, Reference, make_once

PRESET = "medium"  # of every system's final x264 encoding, so that none is better coded
BASELINE = "ffmpeg"


class System(Protocol):
    """Something that upscales a file."""

    @property
    def name(self) -> str:
        """What the table calls it."""

    def run(self, source: Path, output: Path, reference: Reference) -> None:
        """Write `output`: `source` at `SCALE` times the size and `FPS_FACTOR` times the rate."""


@dataclass(frozen=True, kw_only=True)
class FfmpegSystem:
    """Lanczos enlargement and motion-compensated interpolation, as ffmpeg does them by default."""

    crf: float
    """x264 rate factor of the output; 0 is lossless."""
    name: str = BASELINE
    """What the table calls it."""

    def run(self, source: Path, output: Path, reference: Reference) -> None:
        """Scale and interpolate in one ffmpeg run, without leaving YUV; a finished file is kept."""
        filters = [
            f"scale={reference.width}:{reference.height}:flags=lanczos+accurate_rnd",
            f"minterpolate=fps={reference.frame_rate}",
            COLOUR_FILTER,
        ]
        encoder = ["-c:v", "libx264", "-preset", PRESET, "-crf", f"{self.crf:g}", *COLOUR_TAGS]
        make_once(source, [*read_from(source), "-vf", ",".join(filters), *encoder], output)


@dataclass(frozen=True, kw_only=True)
class CommandSystem:
    """Any program that takes a file and writes a file."""

    name: str
    """What the table calls it."""
    template: tuple[str, ...]
    """Program and arguments, with `{input}`, `{output}`, `{scale}`, `{fps_x}` to be filled in."""

    def run(self, source: Path, output: Path, reference: Reference) -> None:  # noqa: ARG002 (of other systems)
        """Run the program.

        Raises:
            UserError: It cannot be started, fails, or writes nothing.
        """
        values = {"input": source, "output": output, "scale": SCALE, "fps_x": FPS_FACTOR}
        command = [_fill(word, values) for word in self.template]
        output.parent.mkdir(parents=True, exist_ok=True)
        output.unlink(missing_ok=True)  # an old result must not pass for this one
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, check=False
            )
        except OSError as error:
            raise UserError(f"cannot start `{command[0]}` of `{self.name}`: {error}") from error
        if done.returncode != 0:
            lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
            raise UserError(
                f"`{self.name}` failed on `{source}` with exit code {done.returncode}: {lines[-1]}",
                hint=f"try it alone: {shlex.join(command)}",
            )
        if not output.is_file():
            raise UserError(f"`{self.name}` wrote no `{output}`", hint=shlex.join(command))


def upscale_system(model: str, crf: float) -> CommandSystem:
    """Our own tool through its command line, with the model of that name or in that folder."""
    settings = ["--scale", "{scale}", "--fps-x", "{fps_x}", "--codec", "h264"]
    encoder = ["--crf", f"{crf:g}", "--preset", PRESET, "--model", model, "--overwrite", "--quiet"]
    start = [sys.executable, "-m", "diffst_cli", "upscale", "{input}", "{output}"]
    return CommandSystem(name=Path(model).name, template=(*start, *settings, *encoder))


def parse_systems(names: Sequence[str], templates: Sequence[str], crf: float) -> list[System]:
    """The systems that the options name, in that order, commands last.

    Args:
        names: `ffmpeg`, or models as `diffst upscale --model` takes them.
        templates: `NAME=COMMAND LINE` each.
        crf: Rate factor for those systems whose encoder is ours to set.

    Raises:
        UsageError: None is named, a template is not understood, or two share a name.
    """
    systems: list[System] = [
        FfmpegSystem(crf=crf) if name == BASELINE else upscale_system(name, crf) for name in names
    ]
    systems += [_parse_template(template) for template in templates]
    if not systems:
        raise UsageError("no system to evaluate", hint=f"name one, as `--systems {BASELINE}`")
    labels = [system.name for system in systems]
    for label in labels:
        if labels.count(label) > 1:
            raise UsageError(f"two systems are called `{label}`")
    return systems


def _parse_template(template: str) -> CommandSystem:
    """`NAME=COMMAND LINE`, split as a shell would."""
    name, _, line = template.partition("=")
    try:
        words = tuple(shlex.split(line))
    except ValueError as error:
        raise UsageError(f"cannot split `{template}` into words: {error}") from error
    if not name.isidentifier() or "{input}" not in line or "{output}" not in line:
        raise UsageError(
            f"`{template}` is not a system",
            hint="write NAME=COMMAND with {input} and {output} in the command",
        )
    return CommandSystem(name=name, template=words)


def _fill(word: str, values: dict[str, object]) -> str:
    """`word` with each `{key}` replaced; other braces stay."""
    for key, value in values.items():
        word = word.replace("{" + key + "}", str(value))
    return word
