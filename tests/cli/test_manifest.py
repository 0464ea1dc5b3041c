import json
import os
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from diffst_cli.manifest import Manifest, ManifestError, Scanned, read_manifest, write_manifest
from diffst_cli.pieces import Piece
from tests.cli.test_clips import even, rules
from tests.cli.test_segments import plan


@pytest.fixture
def manifest() -> Manifest:
    segments = tuple(plan(even(30), rules(clip=4), cuts=[0, 10], fps_x=Fraction(5, 2)))
    assert len(segments) >= 3
    first = segments[0]
    piece = Piece(
        index=0, num_frames=first.stop, first_time=Fraction(1001, 30000), sha256="ab" * 32
    )
    return Manifest(
        recipe={"scale": "4", "output": "é 日本 \udce9.mp4"},
        rules=rules(clip=4),
        way="tiles of up to 512 pixels",
        segments=segments,
        pieces={0: piece},
        scanned=Scanned(num_keyframes=30, warnings=("`a` is damaged in places",)),
    )


@pytest.mark.parametrize("is_complete", [True, False])
def test_what_is_written_is_read_back(manifest: Manifest, is_complete: bool, tmp_path: Path):
    written = manifest if is_complete else replace(manifest, scanned=None)
    write_manifest(tmp_path / "m.json", written)
    assert read_manifest(tmp_path / "m.json") == written
    assert [path.name for path in tmp_path.iterdir()] == ["m.json"]


def test_a_disk_that_is_full_keeps_the_old_record(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "m.json"
    write_manifest(path, manifest)

    def full(_file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_manifest(path, replace(manifest, pieces={}))
    assert read_manifest(path) == manifest


def set_piece(name: str, value: Any) -> Callable[[Any], Any]:
    return lambda content: content["segments"][0]["piece"].__setitem__(name, value)


def set_segment(name: str, value: Any) -> Callable[[Any], Any]:
    return lambda content: content["segments"][1].__setitem__(name, value)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content.__setitem__("format", 99),
        lambda content: content.pop("rules"),
        lambda content: content["rules"].__setitem__("clip_keyframes", 0),
        lambda content: content["rules"].__setitem__("what", 1),
        lambda content: content["recipe"].__setitem__("scale", 4),
        lambda content: content.__setitem__("segments", {"0": {}}),
        lambda content: content["segments"].pop(0),
        lambda content: content["scanned"].__setitem__("warnings", "text"),
        set_piece("sha256", "../../etc/passwd"),
        set_piece("sha256", "AB" * 32),
        set_piece("first_time", "1/0"),
        set_piece("first_time", "9" * 50),
        set_piece("first_time", 0.5),
        set_segment("index", 7),
        set_segment("start", 0),
        set_segment("stop", True),
        set_segment("stop", -1),
        set_segment("stop", 2**70),
        set_segment("stop_keyframe", 0),
        set_segment("cuts", [1, "2"]),
        set_segment("digest", "x"),
        set_segment("end", "1e9999999"),
    ],
)
def test_what_is_not_a_manifest_is_refused(
    damage: Callable[[Any], Any], manifest: Manifest, tmp_path: Path
):
    path = tmp_path / "m.json"
    write_manifest(path, manifest)
    content = json.loads(path.read_text(encoding="utf-8"))
    damage(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ManifestError):
        read_manifest(path)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "null", '"text"', "[" * 100_000, "\udcff", "1e999"]
)
def test_any_text_is_refused_without_harm(text: str, tmp_path: Path):
    path = tmp_path / "m.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ManifestError):
        read_manifest(path)


def test_no_manifest_is_told_from_a_bad_one(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        read_manifest(tmp_path / "m.json")
