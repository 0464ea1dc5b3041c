"""The list of what a training learns from: one JSON line for each clip and picture, with why some were refused.

The first line says what made the list. A clip lies in a file of its own, or in a shard, a plain tar file in
WebDataset's layout, where it is found by its place in bytes, so that any clip can be read at any time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

FORMAT = "diffst clips 1"

Kind = Literal["video", "image"]


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A run of frames of one shot, or a picture."""

    path: Path
    """The video or picture; the shard of one that is packed."""
    kind: Kind
    width: int
    height: int
    """In pixels, upright."""
    start: Fraction = Fraction(0)
    """When the first frame is shown, in seconds of the file's own clock."""
    num_frames: int = 1
    frame_rate: Fraction = Fraction(25)
    """Frames a second."""
    measures: dict[str, float] = field(default_factory=dict)
    """What the filters looked at."""
    rejected: tuple[str, ...] = ()
    """Why it is not to be learnt from, each as `word: detail`; empty when it is."""
    offset: int | None = None
    """Where its bytes begin in the shard; None when `path` is its own file."""
    num_bytes: int | None = None
    """How many there are in the shard."""


def to_line(clip: Clip, folder: Path) -> str:
    """The clip as JSON; a path within `folder`, where the list lies, is written as seen from there."""
    path = clip.path.absolute()
    shown = (
        os.path.relpath(path, folder.absolute()) if path.is_relative_to(folder.absolute()) else path
    )
    line: dict[str, Any] = {
        "path": str(shown),
        "kind": clip.kind,
        "width": clip.width,
        "height": clip.height,
    }
    if clip.kind == "video":
        line |= {
            "start": str(clip.start),
            "num_frames": clip.num_frames,
            "frame_rate": str(clip.frame_rate),
        }
    if clip.offset is not None:
        line |= {"offset": clip.offset, "num_bytes": clip.num_bytes}
    line |= {**clip.measures, "rejected": list(clip.rejected)}
    return json.dumps(line, ensure_ascii=False)


def from_line(text: str, folder: Path) -> Clip:
    """The clip of a JSON line of a list in `folder`.

    Raises:
        ValueError: It is not such a line.
    """
    try:
        line = json.loads(text)
        path, rejected = folder / line.pop("path"), tuple(line.pop("rejected"))
        return Clip(
            path=path,
            kind=line.pop("kind"),
            width=line.pop("width"),
            height=line.pop("height"),
            start=Fraction(line.pop("start", 0)),
            num_frames=line.pop("num_frames", 1),
            frame_rate=Fraction(line.pop("frame_rate", 25)),
            offset=line.pop("offset", None),
            num_bytes=line.pop("num_bytes", None),
            measures=line,
            rejected=rejected,
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"not a clip: `{text.strip()[:80]}`") from error


def header(settings: dict[str, float]) -> str:
    """The first line: the format, and what made the list."""
    return json.dumps({"format": FORMAT, **settings})


def write_manifest(path: Path, head: str, lines: Iterable[str]) -> None:
    """Write a whole list under a temporary name, then give it its own."""
    new = path.with_name(f"{path.name}.new")
    # Names that are not UTF-8 stay as they are.
    with new.open("w", encoding="utf-8", errors="surrogateescape") as file:
        file.writelines(f"{line}\n" for line in (head, *lines))
    new.replace(path)


def read_manifest(path: Path) -> list[Clip]:
    """Every clip of a list, refused ones too.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a list of clips, or one of its lines is broken.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no list of clips `{path}`")
    try:
        # Not `splitlines`: names may hold what Unicode calls a line's end.
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
        lines = text.removesuffix("\n").split("\n")
        if json.loads(lines[0]).get("format") != FORMAT:
            raise ValueError(f"its first line does not say `{FORMAT}`")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"`{path}` is not a list of clips: {error}") from error
    clips = []
    for number, line in enumerate(lines[1:], start=2):
        try:
            clips.append(from_line(line, path.parent))
        except ValueError as error:
            raise ValueError(f"`{path}`, line {number}: {error}") from error
    return clips
