"""Hashes of what is in files."""

from __future__ import annotations

import hashlib
from pathlib import Path

BLOCK_BYTES = 2**20  # read at a time


def sha256(*paths: Path) -> str:
    """SHA-256 of what is in the files, one after the other, in hexadecimal.

    Raises:
        OSError: One cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()
