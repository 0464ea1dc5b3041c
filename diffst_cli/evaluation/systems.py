"""The upscalers that `diffst evaluate` compares, each a command from one file to another."""

import json
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffst_cli.errors import UsageError, UserError
from diffst_cli.evaluation.costs import Cost, run_measured
from diffst_cli.evaluation.measuring import COLOUR_FILTER
from diffst_cli.evaluation.tracks import COLOUR_TAGS, FPS_FACTOR, SCALE, Reference
from diffst_cli.hashing import sha256
from diffst_cli.job import MODELS, check_model

PRESET = "medium"  # of every system's final x264 encoding, so that none is better coded
BASELINE = "ffmpeg"
NAME = re.compile(r"\w[\w.+-]*")  # also a folder's name


@dataclass(frozen=True, kw_only=True)
class System:
    """A program that upscales one file to another."""

    name: str
    """What the table calls it."""
    template: tuple[str, ...]
    """Program and arguments, with `{input}`, `{output}`, `{scale}`, `{fps_x}` (factors), `{fps}`
    (frames per second of the output, as 30000/1001), `{width}`, `{height}`, `{crf}` to be filled in."""
    crf: float
    """x264 rate factor that the output should have; 0 is lossless."""
    keeps: bool = True
    """Whether an output of the same command from the same input is used again."""

    def run(self, source: Path, output: Path, reference: Reference) -> Cost | None:
        """Write `output`: `source` at `SCALE` times the size and `FPS_FACTOR` times the rate.

        Returns:
            What it took; None if an earlier output is used again, for what that took depended on
            what else the machine did.

        Raises:
            UserError: The program cannot be started, fails, or writes nothing.
        """
        from diffst_cli.target import remove

        words = self._without_files(reference)
        recipe = json.dumps([words, sha256(source)])
        record = _record(output)
        is_kept = self.keeps and output.exists() and record.exists()
        if is_kept and record.read_text(encoding="utf-8") == recipe:
            return None
        output.parent.mkdir(parents=True, exist_ok=True)
        # Several evaluations may share a work folder.
        unfinished = output.with_name(f"unfinished-{os.getpid()}-{output.name}")
        # Absolute, so that no program takes a name for an option.
        files = {"input": source.absolute(), "output": unfinished.absolute()}
        try:
            cost = self._run([_fill(word, files) for word in words], source, unfinished)
            unfinished.replace(output)
        finally:
            remove(unfinished)  # a folder, where the program made one
        record.write_text(recipe, encoding="utf-8")
        return cost

    def forget(self, output: Path) -> None:
        """Have `run` make an output again, whatever it was made with."""
        _record(output).unlink(missing_ok=True)

    def _without_files(self, reference: Reference) -> list[str]:
        """The template with all filled in but `{input}` and `{output}`."""
        values = {
            "scale": SCALE,
            "fps_x": FPS_FACTOR,
            "fps": reference.frame_rate,
            "width": reference.width,
            "height": reference.height,
            "crf": f"{self.crf:g}",
        }
        return [_fill(word, values) for word in self.template]

    def _run(self, command: Sequence[str], source: Path, output: Path) -> Cost:
        """Run the program on `source` and see that it wrote `output`."""
        try:
            done = run_measured(command)
        except OSError as error:
            raise UserError(
                f"cannot start `{command[0]}` of `{self.name}`: {error.strerror}",
                hint="give the program's whole path",
            ) from error
        if done.exit_code != 0:
            lines = done.messages.strip().splitlines() or ["no message"]
            told = [line for line in lines if line.startswith("error: ")] or lines
            raise UserError(
                f"`{self.name}` failed on `{source}` with exit code {done.exit_code}: {told[-1]}",
                hint=f"try it alone: {shlex.join(command)}",
            )
        if output.is_dir():
            raise UserError(f"`{self.name}` makes a folder", hint="`{output}` is a video file")
        if not output.is_file():
            raise UserError(f"`{self.name}` wrote no `{output}`", hint=shlex.join(command))
        return done.cost


def _record(output: Path) -> Path:
    """The file that tells what an output was made with."""
    return output.with_suffix(".run.json")


def ffmpeg_system(crf: float) -> System:
    """Lanczos enlargement and motion-compensated interpolation, in one run, without leaving YUV."""
    from diffst_cli.ffmpeg import ffmpeg_path

    filters = [
        "scale={width}:{height}:flags=lanczos+accurate_rnd",
        "minterpolate=fps={fps}",
        COLOUR_FILTER,
    ]
    start = [str(ffmpeg_path()), "-v", "error", "-nostdin", "-y", "-i", "file:{input}"]
    encoder = ["-c:v", "libx264", "-preset", PRESET, "-crf", "{crf}", *COLOUR_TAGS]
    template = (*start, "-vf", ",".join(filters), *encoder, "file:{output}")
    return System(name=BASELINE, template=template, crf=crf)


def upscale_system(model: str, crf: float, *, name: str) -> System:
    """Our own tool through its command line, with the model of that name or in that folder; `name` is the table's."""
    settings = ["--scale", "{scale}", "--fps-x", "{fps_x}", "--codec", "h264"]
    encoder = ["--crf", "{crf}", "--preset", PRESET, "--model", model, "--overwrite", "--quiet"]
    start = [sys.executable, "-m", "diffst_cli", "upscale", "{input}", "{output}"]
    # Not kept: what the same command does changes with every change of the code or the weights.
    return System(name=name, template=(*start, *settings, *encoder), crf=crf, keeps=False)


def parse_systems(names: Sequence[str], templates: Sequence[str], crf: float) -> list[System]:
    """The systems that the options name, in that order, commands last.

    Args:
        names: `ffmpeg`, or models as `diffst upscale --model` takes them.
        templates: `NAME=COMMAND LINE` each.
        crf: Rate factor of the outputs.

    Raises:
        UsageError: None is named, a model is not there, a template is not understood, or two share a name.
    """
    for name in names:
        if name != BASELINE:
            check_model(name, "--systems")
    labels = _labels(names)
    systems = [
        ffmpeg_system(crf) if name == BASELINE else upscale_system(name, crf, name=label)
        for name, label in zip(names, labels, strict=True)
    ]
    systems += [_parse_template(template, crf) for template in templates]
    if not systems:
        raise UsageError("no system to evaluate", hint=f"name one, as `--systems {BASELINE}`")
    labels = [system.name for system in systems]
    for label in labels:
        if labels.count(label) > 1:
            raise UsageError(f"two systems are called `{label}`")
    return systems


def _labels(names: Sequence[str]) -> list[str]:
    """What tables call models: a folder by its name, with those above it where others have the same."""
    places = [
        (name,)
        if name in (BASELINE, *MODELS)
        else Path(os.path.normpath(Path(name).absolute())).parts[1:]
        for name in names
    ]
    lengths = [1] * len(places)
    while True:
        labels = ["-".join(place[-length:]) for place, length in zip(places, lengths, strict=True)]
        alike = [
            index
            for index, place in enumerate(places)
            if labels.count(labels[index]) > 1 and lengths[index] < len(place)
        ]
        if not alike:
            return labels
        for index in alike:
            lengths[index] += 1


def _parse_template(template: str, crf: float) -> System:
    """`NAME=COMMAND LINE`, split as a shell would."""
    name, _, line = template.partition("=")
    try:
        words = tuple(shlex.split(line))
    except ValueError as error:
        raise UsageError(f"cannot split `{template}` into words: {error}") from error
    if not NAME.fullmatch(name) or "{input}" not in line or "{output}" not in line:
        raise UsageError(
            f"`{template}` is not a system",
            hint="write NAME=COMMAND with {input} and {output} in the command",
        )
    return System(name=name, template=words, crf=crf)


def _fill(word: str, values: Mapping[str, object]) -> str:
    """`word` with each `{key}` replaced, once; other braces stay."""
    return re.sub(
        "|".join(re.escape("{" + key + "}") for key in values),
        lambda found: str(values[found[0][1:-1]]),
        word,
    )
