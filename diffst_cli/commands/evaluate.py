"""`diffst evaluate`: quality of upscalers against real video."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffst_cli.errors import UsageError
from diffst_cli.evaluation.layouts import OWN_TRACKS
from diffst_cli.evaluation.systems import BASELINE, parse_systems
from diffst_cli.evaluation.tracks import LEAST_FRAMES, TRACKS
from diffst_cli.report_files import STDOUT, check_report, is_one_of, write_report
from diffst_cli.words import printable

if TYPE_CHECKING:
    from diffst_cli.evaluation.evaluate import Evaluated, Evaluation
    from diffst_cli.evaluation.scores import ClipScore

DEFAULT_WORK = Path("diffst-evaluation")
DEFAULT_FRAMES = 49
DEFAULT_CRF = 16.0


def evaluate(
    reference_dir: Annotated[
        Path,
        typer.Argument(
            metavar="REF_DIR",
            help="Folder of true videos, not trained on, or a test set as published (docs/evaluate.md).",
        ),
    ],
    work: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="Keeps degraded inputs, outputs and scores; made if need be."
        ),
    ] = DEFAULT_WORK,
    systems: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help=f"What to compare: models as `upscale --model` takes them, and `{BASELINE}` "
            "(lanczos and minterpolate). The first is held against each other.",
        ),
    ] = f"nano,{BASELINE}",
    command: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=LINE",
            help="Another program; {input}, {output}, {scale}, {fps_x}, {fps}, {width}, {height}, {crf} "
            "are filled in. May be repeated.",
        ),
    ] = None,
    tracks: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help=f"How inputs are bad: {', '.join(TRACKS)}; or a test set's own inputs: "
            f"{', '.join(OWN_TRACKS)}.",
        ),
    ] = "clean,web,old",
    metrics: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="What to measure. Also lpips, dists, clip-iqa, musiq, maniqa and tlp, networks of "
            "the package's extra `metrics`.",
        ),
    ] = "psnr,ssim,ms-ssim,vmaf,frame-difference,warping,tof",
    frames: Annotated[
        int, typer.Option(min=LEAST_FRAMES, help="Frames of each clip, at most.")
    ] = DEFAULT_FRAMES,
    crf: Annotated[
        float,
        typer.Option(min=0, max=51, help="Rate factor of every output's x264; 0 is lossless."),
    ] = DEFAULT_CRF,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json", metavar="FILE", help="Write every frame's numbers as JSON; - prints it."
        ),
    ] = None,
    csv_file: Annotated[
        Path | None,
        typer.Option(
            "--csv", metavar="FILE", help="Write each clip's numbers as CSV; - prints it."
        ),
    ] = None,
) -> int:
    """Degrade videos, upscale them with several programs, and compare with the truth.

    Inputs are a quarter of the size at half the frame rate: `kept` frames were
    in them, `new` ones are predicted. docs/quality.md has the protocol.
    A program that fails or a clip that cannot be read is left out of the tables, and the exit code is 1.
    """
    from diffst_cli.evaluation.evaluate import Evaluation
    from diffst_cli.evaluation.evaluate import evaluate as run
    from diffst_cli.evaluation.measures import how_to_get, parse_metrics
    from diffst_cli.evaluation.score_tables import to_csv, to_json
    from diffst_cli.evaluation.scores import summarise, trim_to_common
    from diffst_cli.progress import reporter

    settings = Evaluation(
        reference_dir=reference_dir,
        work=work,
        systems=tuple(parse_systems(_names(systems), command or [], crf)),
        tracks=_tracks(tracks),
        metrics=parse_metrics(_names(metrics)),
        num_frames=frames,
        crf=crf,
    )
    for path, option in ((json_file, "--json"), (csv_file, "--csv")):
        if path is not None:
            check_report(path, option)
    if json_file is not None and csv_file is not None and is_one_of(json_file, [csv_file]):
        raise UsageError(f"`--json` and `--csv` are both `{csv_file}`", hint="give two names")
    shown = reporter(quiet=False)
    shown.begin("evaluate")
    try:
        done = run(settings, shown)
    finally:
        shown.end()
    scores, missing = trim_to_common(done.scores), how_to_get(settings.metrics)
    tables = [*_tables(scores), "Not measured:", "\n".join(f"- {line}" for line in missing)]
    typer.echo(printable("\n\n".join(tables)), err=STDOUT in (json_file, csv_file))
    if json_file is not None:
        text = to_json(scores, summarise(scores), _about(settings, done))
        write_report(json_file, text.encode(errors="backslashreplace"))
    if csv_file is not None:
        write_report(csv_file, to_csv(scores).encode(errors="backslashreplace"))
    return int(bool(done.left_out))


def _about(settings: Evaluation, done: Evaluated) -> dict[str, object]:
    """How the scores were measured."""
    return {
        "diffst": version("diffst"),
        "reference_dir": str(settings.reference_dir),
        "num_frames": settings.num_frames,
        "crf": settings.crf,
        "systems": {system.name: shlex.join(system.template) for system in settings.systems},
        "left_out": list(done.left_out),
    }


def _tables(scores: Sequence[ClipScore]) -> list[str]:
    """The tables to print, and what each says."""
    from diffst_cli.evaluation.score_tables import clip_table, gain_table, summary_table
    from diffst_cli.evaluation.scores import summarise, summarise_gains

    means = "Means over clips, ± half of the 95 % interval (Student's t):"
    tables = [clip_table(scores), means, summary_table(summarise(scores))]
    gains = summarise_gains(scores, scores[0].system)
    if gains:
        first = f"Gains of `{scores[0].system}` clip by clip, and the worst clip's:"
        tables += [first, gain_table(gains)]
    return tables


def _tracks(text: str) -> tuple[str, ...]:
    """The tracks named in a comma-separated list.

    Raises:
        UsageError: None is named, or one is unknown.
    """
    known = (*TRACKS, *OWN_TRACKS)
    if not _names(text):
        raise UsageError("no track to evaluate on", hint=f"one of: {', '.join(known)}")
    for name in _names(text):
        if name not in known:
            raise UsageError(f"unknown track `{name}`", hint=f"one of: {', '.join(known)}")
    return tuple(_names(text))


def _names(text: str) -> list[str]:
    """The parts of a comma-separated list, each once."""
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
