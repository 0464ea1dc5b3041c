"""Files of figures beside the videos, as `--json` asks for them: refused early, written whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import typer

from diffst_cli.errors import UsageError, UserError

STDOUT = Path("-")  # prints a report instead
SUFFIXES = (".json", ".jsonl", ".csv", ".html", ".log", ".txt")  # of what a report may replace


def check_report(path: Path, option: str, *, may_be_stdout: bool = True) -> None:
    """See, before the work, that a report can be written after it.

    Args:
        path: Where to; `-` is standard output.
        option: What names it on the command line.
        may_be_stdout: False for a file that grows with the work, or that is read again.

    Raises:
        UsageError: It cannot be a file, or would replace one of another kind: a video, say.
    """
    if path == STDOUT:
        if not may_be_stdout:
            raise UsageError(f"`{option}` cannot be `-`, standard output", hint="name a file")
        return
    folder = path.absolute().parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(
            f"`{option}` is `{path}`, which cannot be a file",
            hint="name one in a folder that is there and can be written to",
        )
    if path.is_file() and path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"`{option}` is `{path}`, which is there and is no report by its name",
            hint="give another name; reports are replaced, other files are not",
        )


def write_report(path: Path, content: bytes) -> None:
    """Write a report; the file is there whole or not at all. `-` prints it.

    Raises:
        UserError: It cannot be written.
    """
    if path == STDOUT:
        typer.echo(content, nl=False)
        return
    # What is no plain file, such as /dev/stdout, has to be written as it is.
    plain = not path.is_symlink() and (path.is_file() or not path.exists())
    place = path.absolute().with_name(f".diffst-{secrets.token_hex(4)}.part") if plain else path
    try:
        place.write_bytes(content)
        if plain:
            place.replace(path)
    except OSError as error:
        raise UserError(f"cannot write `{path}`: {error.strerror}") from error
    finally:
        if plain:
            place.unlink(missing_ok=True)
