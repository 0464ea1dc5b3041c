"""Help as people read it: switches without the `<bool>` that Typer writes beside them, paragraphs that flow."""

from __future__ import annotations

import inspect
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

# Any: the classes are those of Typer's own copy of Click, which has no public name.


def _without_types(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    return parameters


class PlainCommand(TyperCommand):
    """One command."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its arguments and options, `--help` included."""
        return _without_types(super().get_params(ctx))


class PlainGroup(TyperGroup):
    """A command with subcommands."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its options, `--help` included."""
        return _without_types(super().get_params(ctx))


def show_plainly(app: typer.Typer) -> None:
    """Make the help of `app` and of every command below it plain."""
    app.info.cls = PlainGroup
    for command in app.registered_commands:
        command.cls = PlainCommand
        paragraphs = (inspect.getdoc(command.callback) or "").split("\n\n")
        command.help = "\n\n".join(" ".join(text.split()) for text in paragraphs)
    for group in app.registered_groups:
        assert group.typer_instance is not None
        group.cls = PlainGroup
        show_plainly(group.typer_instance)
