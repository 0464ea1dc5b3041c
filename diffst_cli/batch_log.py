"""The log of a batch: a line of JSON for each file, whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from io import FileIO
from pathlib import Path

from diffst_cli.errors import UserError
from diffst_cli.report_files import is_stream


def append_line(path: Path, record: Mapping[str, object]) -> None:
    """Add a record to a log, which is made if it is not there.

    Raises:
        UserError: It cannot be written; then it is as it was.
    """
    # A byte of a name that is no UTF-8 becomes JSON's own escape of it.
    line = json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
    try:
        if is_stream(path):  # which has no end to go back to
            with path.open("ab") as stream:
                stream.write(line)
            return
        if not _ends_a_line(path):  # it was cut off there, and this line must not go with it
            line = b"\n" + line
        with path.open("ab", buffering=0) as file:
            _write_whole(file, line)
    except OSError as error:
        raise UserError(f"cannot write the log `{path}`: {error.strerror}") from error


def _ends_a_line(path: Path) -> bool:
    """Whether a new line may begin at the end of a file; taken for granted where it cannot be read."""
    try:
        with path.open("rb") as file:
            if file.seek(0, os.SEEK_END) == 0:
                return True
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"
    except OSError:
        return True


def _write_whole(file: FileIO, content: bytes) -> None:
    """Write at the end of a file, or leave it as long as it was: what a full disk has room for is no line."""
    length, written = file.seek(0, os.SEEK_END), 0
    try:
        while written < len(content):
            written += file.write(content[written:])
    except BaseException:
        file.truncate(length)
        raise
