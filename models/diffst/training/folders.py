"""Folders that are there as a whole or not at all: written under another name, then put in the older one's place."""

from __future__ import annotations

import shutil
from pathlib import Path


def put_in_place(made: Path, place: Path) -> None:
    """Give a finished folder its name; a process killed meanwhile leaves the older one to `recovered`."""
    older = aside(place)
    shutil.rmtree(older, ignore_errors=True)
    if place.exists():
        place.rename(older)
    made.rename(place)
    shutil.rmtree(older, ignore_errors=True)


def recovered(place: Path) -> Path:
    """The place, where the older folder is back if a process was killed before the newer one took its name."""
    older = aside(place)
    if older.exists() and not place.exists():
        older.rename(place)
    return place


def aside(place: Path) -> Path:
    """Where the older folder is while a newer one takes its place."""
    return place.with_name(f"{place.name}.old")
