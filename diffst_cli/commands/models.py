"""`diffst models`: the models there are, where they lie, and whether they are whole."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffst.folders import EMBEDDED
from diffst_cli.errors import UsageError

if TYPE_CHECKING:
    from diffst.upscaler import ModelCard

app = typer.Typer(help="List the models, fetch them, and check the ones that are here.")

HINT_REINSTALL = "install diffst again"
HINT_NAMES = "`diffst models list` names the models"


@app.command("list")
def list_command(
    json_output: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of text.")
    ] = False,
) -> None:
    """Print each model: what it is, licence, size, whether it is here; then what can be fetched."""
    from diffst.upscaler import list_models
    from diffst_cli.downloaded import summary
    from diffst_cli.model_files import DOWNLOADS

    cards = list_models()
    others = [summary(found) for name, found in DOWNLOADS.items() if name not in named(cards)]
    if json_output:
        unknown = {"num_parameters": None, "sha256": None}  # of what can be fetched
        listed = [asdict(card) for card in cards] + [unknown | asdict(other) for other in others]
        typer.echo(json.dumps(listed, indent=1, default=str))
    else:
        typer.echo("\n".join([*map(describe, cards), *(other.words for other in others)]))


@app.command()
def path(name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a model.")]) -> None:
    """Print the folder of a model; for one that can be fetched, where it will be."""
    from diffst.upscaler import list_models
    from diffst_cli.downloaded import folder_of

    folder = named(list_models()).get(name) or folder_of(name)
    if folder is None:
        raise UsageError(f"there is no model `{name}`", hint=HINT_NAMES)
    typer.echo(str(folder))


@app.command()
def pull(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of a model that `models list` shows.")
    ],
) -> None:
    """Fetch a public model; called again after an interruption, it goes on where it was.

    Its licences are shown first and kept beside the files. `HF_ENDPOINT` names a
    mirror, `HF_TOKEN` a token, `DIFFST_MODELS` another folder for models.
    """
    from diffst_cli.download import UnreachableError
    from diffst_cli.download import pull as fetch
    from diffst_cli.model_files import DOWNLOADS
    from diffst_cli.progress import print_note

    if name in EMBEDDED:
        print_note(f"`{name}` is in the package: there is nothing to fetch")
        return
    if name not in DOWNLOADS:
        raise UsageError(
            f"there is no model `{name}` to fetch", hint=f"one of: {', '.join(DOWNLOADS)}"
        )
    try:
        fetch(DOWNLOADS[name], print_note)
    except UnreachableError as error:
        print_note(error.manual)
        raise
    except KeyboardInterrupt:
        print_note(f"what came is kept; `diffst models pull {name}` goes on")
        raise


@app.command()
def verify(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Only this model; all that are here if not given."),
    ] = None,
) -> int:
    """Check that the files of each model that is here are the right ones; exit code 1 if not."""
    from diffst.upscaler import list_models
    from diffst_cli.downloaded import check, here
    from diffst_cli.model_files import DOWNLOADS
    from diffst_cli.weights import problem_with

    cards = {card.name: card for card in list_models() if card.installed}
    fetched = {found.name: found for found in here() if found.name not in cards}
    if name is not None and name not in cards:
        if name not in DOWNLOADS:
            raise UsageError(f"there is no model `{name}` here", hint=HINT_NAMES)
        fetched = {name: DOWNLOADS[name]}
    broken = 0
    for card in cards.values():
        if name in (None, card.name):
            problem = problem_with(card)
            broken += problem is not None
            typer.echo(f"{card.name}: {'as published' if problem is None else problem}")
    if broken:
        typer.echo(f"hint: {HINT_REINSTALL}", err=True)
    for found in fetched.values() if name not in cards else ():
        try:
            typer.echo(f"{found.name}: {check(found)}")
        except ValueError as error:
            broken += 1
            typer.echo(f"{found.name}: {error}")
            typer.echo(
                f"hint: remove it if it is there; `diffst models pull {found.name}` fetches it",
                err=True,
            )
    return 1 if broken else 0


def named(cards: list[ModelCard]) -> dict[str, Path]:
    """Each model's folder by its name."""
    return {card.name: card.path for card in cards}


def describe(card: ModelCard) -> str:
    """Two lines about a model."""
    state = "installed" if card.installed else "not installed"
    size = f"{card.size_bytes / 1e6:.1f} MB, {card.num_parameters / 1e6:.2f} million parameters"
    return f"{card.name}: {state}, {size}, {card.licence}\n  {card.description}"
