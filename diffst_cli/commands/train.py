"""`diffst train`: the recipe that made nano."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffst_cli.commands.options import QuietOption
from diffst_cli.errors import UserError

if TYPE_CHECKING:
    from diffst.training.config import TrainConfig


def train(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="TOML file; see docs/guide.md for its keys.")
    ],
    quiet: QuietOption = False,
) -> None:
    """Train a DiffST model on prepared clips; called again, it goes on where it stopped."""
    from diffst.training.loop import train as run_training
    from diffst_cli.progress import print_note

    wanted = _load(config)
    try:
        best = run_training(
            wanted, report=lambda line: None if quiet else print_note(_sentence(line))
        )
    except FloatingPointError as error:
        raise UserError(
            f"{error}",
            hint="put it in `start_from`, with another `out` and a lower `learning_rate`",
        ) from error
    if not quiet:
        print_note(f"the best checkpoint is in `{best}`")


def _load(path: Path) -> TrainConfig:
    """The run that a file asks for, with the data it needs in place."""
    from diffst.training.config import load_config

    if not path.is_file():
        raise UserError(f"there is no file `{path}`", hint="nano's recipe is in the package")
    try:
        wanted = load_config(path)
    except (ValueError, TypeError) as error:
        raise UserError(f"`{path}` is not a training file: {error}") from error
    for folder in (wanted.data, wanted.validation):
        if not any(folder.glob("*/meta.json")):
            raise UserError(
                f"there are no prepared clips in `{folder}`",
                hint="`python -m diffst.training.prepare OUT --data DIR` makes them",
            )
    return wanted


def _sentence(line: dict[str, float]) -> str:
    return (
        f"step {line['step']:.0f}, {line['seconds'] / 60:.1f} min: "
        f"kept {line['kept']:.2f} dB, new {line['new']:.2f} dB"
    )
