"""The command line: its commands, and the one place that prints errors and sets exit codes.

A command module in `diffst_cli/commands/` offers either a function named like itself (one command)
or `app`, a `typer.Typer` (a command with subcommands). Importing it must be light: torch, av, cv2,
numpy and diffusers are imported inside its functions, so that `diffst --help` answers in a blink.
"""

from __future__ import annotations

import logging
import re
import shlex
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from diffst_cli.commands.batch import batch
from diffst_cli.commands.benchmark import benchmark
from diffst_cli.commands.compare import compare
from diffst_cli.commands.dataset import app as dataset
from diffst_cli.commands.doctor import doctor
from diffst_cli.commands.evaluate import evaluate
from diffst_cli.commands.models import app as models
from diffst_cli.commands.plan import plan
from diffst_cli.commands.preview import preview
from diffst_cli.commands.train import train
from diffst_cli.commands.upscale import upscale
from diffst_cli.errors import UsageError, UserError, explain
from diffst_cli.interrupts import interrupts_raise
from diffst_cli.plain_help import show_plainly
from diffst_cli.progress import print_error

EXIT_USAGE = UsageError.exit_code
EXIT_INTERRUPTED = 130
DEBUG = "--debug"
HELP_SETTINGS = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="diffst",
    help="Upscale video in space and time, in one pass.",
    context_settings=HELP_SETTINGS,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (upscale, preview, plan, batch, benchmark, evaluate, compare, train, doctor):
    app.command()(command)
app.add_typer(models, name="models")
app.add_typer(dataset, name="dataset")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"diffst {version('diffst')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            DEBUG, help="Log what is done and show tracebacks; works anywhere on the line."
        ),
    ] = False,
) -> None:
    if debug:
        logging.basicConfig(
            level=logging.DEBUG, format="%(relativeCreated)d ms %(name)s: %(message)s"
        )
    if context.invoked_subcommand is None and not show_version:
        typer.echo(context.get_help())
        raise typer.Exit(EXIT_USAGE)


show_plainly(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line; gives the exit code.

    0: done, and the output is good; 1: it failed; 2: the command line is wrong; 130: interrupted.
    Errors go to stderr as `error: ...` and `hint: ...`; a traceback only with `--debug`.
    """
    line = _debug_first(sys.argv[1:] if arguments is None else arguments)
    try:
        with interrupts_raise():
            _refuse_empty_words(line)
            result = app(args=line, prog_name="diffst", standalone_mode=False)
    except KeyboardInterrupt:
        result = EXIT_INTERRUPTED
    except typer.TyperException as error:
        print_error(UserError(_plain_sentence(error.format_message()), hint=_help_hint(line)))
        return error.exit_code
    except Exception as error:
        if DEBUG in line[:1]:
            traceback.print_exception(error)
        explained = explain(error)
        print_error(explained)
        return explained.exit_code
    code = result if isinstance(result, int) else 0
    if code == EXIT_INTERRUPTED:  # Typer turns KeyboardInterrupt into this code
        print_error(UserError("interrupted"))
    return code


def _debug_first(arguments: Sequence[str]) -> list[str]:
    """The command line with `--debug`, wherever it stood before `--`, moved to the front."""
    stop = arguments.index("--") if "--" in arguments else len(arguments)
    if DEBUG not in arguments[:stop]:
        return list(arguments)
    rest = [word for word in arguments[:stop] if word != DEBUG]
    return [DEBUG, *rest, *arguments[stop:]]


def _refuse_empty_words(line: Sequence[str]) -> None:
    """An empty file name would mean the current folder: `diffst upscale in.mp4 "$UNSET"`."""
    for before, word in zip(["", *line], line, strict=False):
        if not word and before != "--prompt":
            raise UsageError(
                f"the word after `{before}` is empty" if before else "the first word is empty",
                hint="is a variable of the shell not set?",
            )


def _plain_sentence(message: str) -> str:
    """Typer's message as one sentence in our form: no final period, values in backticks."""
    sentence = " ".join(message.split()).rstrip(".")
    sentence = re.sub(r"'([^']*)'", r"`\1`", sentence)
    sentence = re.sub(r"Input should be a valid integer,.*", "it takes a whole number", sentence)
    sentence = re.sub(r"Input should be a valid number,.*", "it takes a number", sentence)
    sentence = re.sub(
        r"^Got unexpected extra arguments?(?:\(s\))? \((.*)\)", r"too many words: `\1`", sentence
    )
    sentence = re.sub(r"^No such option: ([^\s`]+)", r"no such option `\1`", sentence)
    sentence = re.sub(r" \(Possible options: (.*)\)$", _meant, sentence)
    sentence = re.sub(r"\. Did you mean (.*)\?$", r"; did you mean \1?", sentence)
    return sentence[:1].lower() + sentence[1:]


def _meant(options: re.Match[str]) -> str:
    """Typer's list of like options as a question."""
    return f"; did you mean {' or '.join(f'`{name}`' for name in options[1].split(', '))}?"


def _help_hint(line: Sequence[str]) -> str:
    """Where the help for this command line is, or how files are named that stand in a wrong place."""
    for word in line:
        if word.startswith("-") and Path(word).exists():
            return f"a file's name that begins with a dash is written `./{word}`"
    # Any: the classes are those of Typer's own copy of Click, which has no public name.
    command: Any = typer.main.get_command(app)
    path = ["diffst"]
    for word in (word for word in line if word != DEBUG):
        command = getattr(command, "commands", {}).get(word)
        if command is None:
            break
        path.append(word)
    if len(path) == 1 and line and Path(line[0]).exists():
        return f"`diffst upscale {shlex.join(line)}` makes it larger"
    return f"`{' '.join(path)} -h` lists what it takes"
