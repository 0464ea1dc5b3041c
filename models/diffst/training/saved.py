"""Saved states of a run, read so that a damaged file is named."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch


def damaged(path: Path, last: Path) -> ValueError:
    """The error of a file of a state that cannot be read.

    Args:
        path: The file.
        last: Model folder of the same run, whose weights are still there.
    """
    return ValueError(
        f"`{path}` is damaged; to go on from its weights put `{last}` in `start_from` and choose another `out`"
    )


def read_saved(path: Path, device: torch.device) -> dict[str, Any]:
    """What a run left in `last/` to go on from, its tensors on the device.

    Raises:
        ValueError: It is damaged, as after a copy that was cut off.
    """
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location=device)
    except Exception as error:  # of many kinds, for want of memory too
        if not is_whole(path):
            raise damaged(path, path.parent) from error
        raise
    return state


def is_whole(path: Path) -> bool:
    """Whether a file of `torch.save`, which is a zip archive, is all there and as it was written."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError):
        return False
