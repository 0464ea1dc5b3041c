"""Write docs/reference.md from the command line itself: every command, argument and option."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from diffst_cli.app import app

REFERENCE = Path(__file__).with_name("reference.md")
HEAD = """# Reference

Written by `make reference` from the command line's own help, which `-h` after any command prints too.
"""


def render() -> str:
    """The whole page, in Markdown."""
    # Any: the classes are those of Typer's own copy of Click, which has no public name.
    root: Any = typer.main.get_command(app)
    return "\n".join([HEAD, *_sections(root, typer.Context(root, info_name="diffst"))])


def _sections(command: Any, context: Any) -> list[str]:
    """This command's section, then those of the commands below it."""
    lines = [f"## `{context.command_path}`\n", f"{_one_line(command.help)}\n"]
    rows = [_row(parameter) for parameter in command.params if not parameter.hidden]
    if rows:
        lines += ["| | default | |", "|---|---|---|", *rows, ""]
    for name, below in sorted(getattr(command, "commands", {}).items()):
        lines += _sections(below, type(context)(below, info_name=name, parent=context))
    return lines


def _row(parameter: Any) -> str:
    value = parameter.metavar or parameter.name.upper()
    if parameter.param_type_name == "argument":
        words = f"`{value}`"
    else:
        names = [*parameter.opts, *parameter.secondary_opts]
        words = ", ".join(
            f"`{name}`" if parameter.is_flag else f"`{name} {value}`" for name in names
        )
    is_worth_showing = parameter.default not in (None, False, ...) and not parameter.required
    default = f"`{parameter.default}`" if is_worth_showing else ""
    return f"| {words} | {default} | {_one_line(parameter.help).replace('|', '&#124;')} |"


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())


if __name__ == "__main__":
    REFERENCE.write_text(render(), encoding="utf-8")
