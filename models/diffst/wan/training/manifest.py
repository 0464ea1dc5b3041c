"""The list of what a training learns from: one JSON line for each clip and picture, with why some were refused.

The first line says what made the list. A clip lies in a file of its own, or in a shard, a plain tar file in
WebDataset's layout, where it is found by its place in bytes, so that any clip can be read at any time.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, get_args

FORMAT = "diffst clips 1"

Kind = Literal["video", "image"]
KINDS: tuple[Kind, ...] = get_args(Kind)
# As libav counts: pixels, frames, and what a clock's ticks are fractions of; seconds and such ticks together.
MOST, MOST_SECONDS, MOST_BYTES = 2**31 - 1, 2**32 - 1, 2**63 - 1
NUMBER = r"-?[0-9]{1,19}(\.[0-9]{1,19}|/[0-9]{1,19})?"


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
    """The clip of a JSON line of a list in `folder`, which may be a stranger's: every value is checked.

    Raises:
        ValueError: It is not such a line.
    """
    try:
        line = json.loads(text)
        if not isinstance(line, dict):
            raise ValueError("it is no object")
        return _clip(line, folder)
    except (ValueError, RecursionError) as error:  # the latter where lists lie in lists
        raise ValueError(f"not a clip: `{text.strip()[:80]}`: {error}") from error


def _clip(line: dict[str, Any], folder: Path) -> Clip:
    """The clip of a line's object, which is used up."""
    path, kind = line.pop("path", None), line.pop("kind", None)
    if not isinstance(path, str) or not path or "\0" in path:
        raise ValueError("`path` is no path")
    if kind not in KINDS:
        raise ValueError(f"`kind` is one of {', '.join(KINDS)}")
    rejected = line.pop("rejected", None)
    if not isinstance(rejected, list) or not all(isinstance(reason, str) for reason in rejected):
        raise ValueError("`rejected` is no list of texts")
    least = 0 if rejected else 1  # what cannot be read has no size
    is_packed = "offset" in line or "num_bytes" in line
    clip = Clip(
        path=folder / path,
        kind=kind,
        width=_whole(line, "width", least),
        height=_whole(line, "height", least),
        start=_fraction(line, "start", MOST_SECONDS, default=0),
        num_frames=_whole(line, "num_frames", least, default=1),
        frame_rate=_fraction(line, "frame_rate", MOST, default=25),
        offset=_whole(line, "offset", 0, MOST_BYTES) if is_packed else None,
        num_bytes=_whole(line, "num_bytes", 1, MOST_BYTES) if is_packed else None,
        measures=line,
        rejected=tuple(rejected),
    )
    if clip.frame_rate < 0 or not (rejected or clip.frame_rate):
        raise ValueError("`frame_rate` is not above 0")
    other = [name for name, value in line.items() if type(value) not in (int, float)]
    if other:
        raise ValueError(
            f"`{other[0]}` is neither a field of a clip nor a number that was measured"
        )
    return clip


def _whole(
    line: dict[str, Any], name: str, least: int, most: int = MOST, default: int | None = None
) -> int:
    value = line.pop(name, default)
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"`{name}` is no whole number from {least} to {most}")
    return value


def _fraction(line: dict[str, Any], name: str, most: int, default: int) -> Fraction:
    value = line.pop(name, default)
    # As a text first: a Fraction of 1e999999999 would fill the memory.
    if type(value) in (str, int, float) and re.fullmatch(NUMBER, str(value)):
        with suppress(ZeroDivisionError):
            number = Fraction(str(value))
            if abs(number) <= most and number.denominator <= MOST:
                return number
    raise ValueError(f"`{name}` is no number, or is too large")


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
