"""`diffst models`: the models there are, where they lie, and whether they are whole."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from diffst_cli.errors import UsageError

if TYPE_CHECKING:
    from diffst.upscaler import ModelCard

app = typer.Typer(help="List the models, and check the ones that are here.")

HINT_REINSTALL = "install diffst again"


@app.command("list")
def list_command(
    json_output: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of text.")
    ] = False,
) -> None:
    """Print each model: what it is, licence, size, whether it is installed."""
    from diffst.upscaler import list_models

    cards = list_models()
    if json_output:
        typer.echo(json.dumps([asdict(card) for card in cards], indent=1, default=str))
    else:
        typer.echo("\n".join(describe(card) for card in cards))


@app.command()
def path(name: Annotated[str, typer.Argument(help="Name of a model.")]) -> None:
    """Print the folder of a model."""
    from diffst.upscaler import list_models

    folders = {card.name: card.path for card in list_models()}
    if name not in folders:
        raise UsageError(
            f"there is no model `{name}`", hint="`diffst models list` names the models"
        )
    typer.echo(str(folders[name]))


@app.command()
def verify() -> int:
    """Check that the files of each installed model are the published ones; exit code 1 if not."""
    from diffst.upscaler import list_models
    from diffst_cli.weights import problem_with

    problems = {card.name: problem_with(card) for card in list_models() if card.installed}
    for name, problem in problems.items():
        typer.echo(f"{name}: {'as published' if problem is None else problem}")
    broken = [name for name, problem in problems.items() if problem is not None]
    if broken:
        typer.echo(f"hint: {HINT_REINSTALL}", err=True)
    return 1 if broken else 0


def describe(card: ModelCard) -> str:
    """Two lines about a model."""
    state = "installed" if card.installed else "not installed"
    size = f"{card.size_bytes / 1e6:.1f} MB, {card.num_parameters / 1e6:.2f} million parameters"
    return f"{card.name}: {state}, {size}, {card.licence}\n  {card.description}"
