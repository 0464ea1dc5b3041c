"""What is on record of a job that is not finished: what it is, its segments, and the pieces made of them.

The file is read as something that anybody may have written: every value is checked, and no path
comes from it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from diffst_cli.clips import ClipRules
from diffst_cli.pieces import Piece
from diffst_cli.segments import Segment
from diffst_cli.timing import TimelineState

FORMAT = 4  # of the file
MAX_COUNT = 2**40  # of anything counted in it
MAX_DIGITS = 40  # of a number in a fraction
MAX_BYTES = 2**28  # of the file; a segment takes about 600


@dataclass(frozen=True, kw_only=True)
class Scanned:
    """What looking through the whole input told."""

    num_keyframes: int
    warnings: tuple[str, ...]
    """What the user should know of the input, one sentence each."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything on record."""

    recipe: Mapping[str, str]
    """What the output depends on, by name; see `recipe`."""
    rules: ClipRules
    """How clips are cut, decided once for the whole output."""
    way: str
    """How much of a clip is done at once, in the words of a `Rung`: tiles are seen in the pixels."""
    segments: tuple[Segment, ...]
    """Those found so far, from the first on."""
    pieces: Mapping[int, Piece]
    """The finished ones, by index."""
    scanned: Scanned | None
    """None while more segments may be found."""


class ManifestError(Exception):
    """The file is not a manifest that this version can trust."""


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Replace the file at `path`, which is whole at every moment.

    Raises:
        OSError: It cannot be written.
    """
    scanned = manifest.scanned
    content = {
        "format": FORMAT,
        "recipe": dict(manifest.recipe),
        "rules": asdict(manifest.rules),
        "way": manifest.way,
        "scanned": asdict(scanned) if scanned is not None else None,
        "segments": [
            segment_to_json(segment) | {"piece": _piece_to_json(manifest.pieces.get(segment.index))}
            for segment in manifest.segments
        ],
    }
    new = path.with_name(f"{path.name}.new")
    # A byte of a name that is no UTF-8 becomes JSON's own escape of it, and is read back as it was.
    with new.open("w", encoding="utf-8", errors="backslashreplace") as file:
        json.dump(content, file, ensure_ascii=False, separators=(",", ":"))
        file.flush()
        os.fsync(file.fileno())  # or a power cut could leave the name with nothing in it
    new.replace(path)


def read_manifest(path: Path) -> Manifest:
    """The manifest at `path`.

    Raises:
        ManifestError: It is damaged, of another version, or not a manifest.
        FileNotFoundError: There is none.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ManifestError("too large")
        content = _fields(json.loads(path.read_text(encoding="utf-8")))
        if content["format"] != FORMAT:
            raise ManifestError(f"format {content['format']}")
        segments = tuple(segment_from_json(entry) for entry in _list(content["segments"]))
        _check_chain(segments)
        pieces = [
            _piece_from_json(_fields(entry)["piece"], segment)
            for entry, segment in zip(content["segments"], segments, strict=True)
        ]
        return Manifest(
            recipe={name: _text(value) for name, value in _fields(content["recipe"]).items()},
            rules=ClipRules(**{name: _count(n) for name, n in _fields(content["rules"]).items()}),
            way=_text(content["way"]),
            segments=segments,
            pieces={piece.index: piece for piece in pieces if piece is not None},
            scanned=_scanned(content["scanned"]),
        )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ManifestError(f"{type(error).__name__}: {error}") from error


def segment_to_json(segment: Segment) -> dict[str, Any]:
    """The segment as plain values; fractions as `1001/30000`."""
    values = asdict(segment) | asdict(segment.timeline)
    del values["timeline"]
    values["timeline_first_time"] = segment.timeline.first_time
    values["first_time"] = segment.first_time
    return {
        name: str(value) if isinstance(value, Fraction) else value for name, value in values.items()
    }


def segment_from_json(entry: object) -> Segment:
    """The segment that `segment_to_json` gave.

    Raises:
        ValueError, TypeError, KeyError: It is something else.
    """
    values = _fields(entry)
    segment = Segment(
        timeline=TimelineState(
            first_time=_fraction(values["timeline_first_time"]),
            last_time=_fraction(values["last_time"]),
            num_keyframes=_count(values["num_keyframes"]),
            num_instants=_count(values["num_instants"]),
        ),
        first_time=_fraction(values["first_time"]),
        cuts=tuple(_count(cut) for cut in _list(values["cuts"])),
        end=None if values["end"] is None else _fraction(values["end"]),
        digest=_hexadecimal(values["digest"], 32),
        **{
            name: _count(values[name])
            for name in ("index", "stop_keyframe", "first_instant", "shared", "start", "stop")
        },
    )
    if not (segment.first_instant <= segment.start < segment.stop):
        raise ValueError(f"segment {segment.index} has no frames")
    if segment.first_keyframe >= segment.stop_keyframe:
        raise ValueError(f"segment {segment.index} has no keyframes")
    return segment


def _check_chain(segments: tuple[Segment, ...]) -> None:
    """Refuse segments that are not one after another from the first frame on."""
    start = 0
    for index, segment in enumerate(segments):
        if segment.index != index or segment.start != start:
            raise ValueError(f"segment {index} is not where it should be")
        start = segment.stop


def _piece_to_json(piece: Piece | None) -> dict[str, str] | None:
    if piece is None:
        return None
    return {"first_time": str(piece.first_time), "sha256": piece.sha256}


def _piece_from_json(entry: object, segment: Segment) -> Piece | None:
    if entry is None:
        return None
    values = _fields(entry)
    return Piece(
        index=segment.index,
        num_frames=segment.stop - segment.start,
        first_time=_fraction(values["first_time"]),
        sha256=_hexadecimal(values["sha256"], 64),
    )


def _scanned(entry: object) -> Scanned | None:
    if entry is None:
        return None
    values = _fields(entry)
    warnings = tuple(_text(warning) for warning in _list(values["warnings"]))
    return Scanned(num_keyframes=_count(values["num_keyframes"]), warnings=warnings)


def _fields(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r:.40} is not an object")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r:.40} is not a list")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is not text")
    return value


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value <= MAX_COUNT:
        raise ValueError(f"{value!r:.40} is not a count")
    return value


def _fraction(value: object) -> Fraction:
    if not re.fullmatch(rf"-?\d{{1,{MAX_DIGITS}}}(/\d{{1,{MAX_DIGITS}}})?", _text(value)):
        raise ValueError(f"{value!r:.40} is not a fraction")
    try:
        return Fraction(_text(value))
    except ZeroDivisionError as error:
        raise ValueError(f"{value!r:.40} divides by zero") from error


def _hexadecimal(value: object, length: int) -> str:
    if not re.fullmatch(rf"[0-9a-f]{{{length}}}", _text(value)):
        raise ValueError(f"{value!r:.40} is not a checksum")
    return _text(value)
