"""Files of figures beside the videos, as `--json` asks for them: refused early, written whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

import typer

from diffst_cli.errors import UsageError, UserError

STDOUT = Path("-")  # prints a report instead
# Of what a report may replace.
SUFFIXES = (".json", ".jsonl", ".csv", ".html", ".htm", ".log", ".txt")
OPEN_FILES = ("/dev/stdout", "/dev/stderr", "/dev/fd/")  # the process's own, by name


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
    if not _can_be_written(path):
        raise UsageError(
            f"`{option}` is `{path}`, which cannot be a file",
            hint="name one in a folder that is there and can be written to",
        )
    # A link to a file is written through, so it is the file's own name that tells.
    if is_taken(path) and path.is_file() and path.resolve().suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"`{option}` is `{path}`, which is there and is no report by its name",
            hint="give another name; reports are replaced, other files are not",
        )


def is_stream(path: Path) -> bool:
    """Whether `path` can be written to but not replaced: a pipe, a device, or what this process has open.

    An open file has a name in /dev and is one of these even where it leads to a plain file.
    """
    if str(path.absolute()).startswith(OPEN_FILES):
        return True
    return path.exists() and not (path.is_file() or path.is_dir())


def is_taken(path: Path) -> bool:
    """Whether something is there that a report would replace."""
    return path != STDOUT and os.path.lexists(path) and not is_stream(path)


def is_one_of(path: Path, others: Iterable[Path]) -> bool:
    """Whether `path` names one of `others`, by whatever way and whether it is there or not."""
    return any(
        os.path.realpath(path) == os.path.realpath(other)
        or (path.exists() and other.exists() and path.samefile(other))
        for other in others
    )


def _can_be_written(path: Path) -> bool:
    if path.is_dir():
        return False
    if path.exists() and (is_stream(path) or path.is_symlink()):  # which stays as it is
        return os.access(path, os.W_OK)
    folder = path.absolute().parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def write_report(path: Path, content: bytes) -> None:
    """Write a report; the file is there whole or not at all. `-` prints it.

    Raises:
        UserError: It cannot be written.
    """
    if path == STDOUT:
        typer.echo(content, nl=False)
        return
    try:
        if is_stream(path):
            with path.open("ab") as file:  # after what a file behind it holds
                file.write(content)
        elif path.is_symlink():
            path.write_bytes(content)
        else:
            replace_file(path, content)
    except OSError as error:
        raise UserError(f"cannot write `{path}`: {error.strerror}") from error


def replace_file(path: Path, content: bytes) -> None:
    """Write a file under a hidden name beside it and rename it, so that it is never there in part.

    Raises:
        OSError: It cannot be written; what was there stays.
    """
    part = path.absolute().with_name(f".diffst-{secrets.token_hex(4)}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
