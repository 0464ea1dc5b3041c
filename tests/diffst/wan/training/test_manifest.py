import json
from fractions import Fraction
from pathlib import Path

import pytest

from diffst.wan.training.manifest import (
    Clip,
    from_line,
    header,
    read_manifest,
    to_line,
    write_manifest,
)

HOSTILE = "-lead 'q\" é 日本 \u2028 %03d\nline.mp4"
NOT_UTF8 = b"caf\xe9.mp4".decode("utf-8", "surrogateescape")


def clip(path: Path, **changes) -> Clip:
    return Clip(
        path=path,
        kind="video",
        width=1920,
        height=1080,
        start=Fraction(1001, 30000),
        num_frames=97,
        frame_rate=Fraction(30000, 1001),
        measures={"sharpness": 0.7},
        **changes,
    )


def write(path: Path, clips: list[Clip]) -> None:
    write_manifest(path, header({"min_side": 720}), [to_line(c, path.parent) for c in clips])


@pytest.mark.parametrize("name", [HOSTILE, NOT_UTF8])
def test_what_is_written_is_read_again(tmp_path: Path, name: str):
    clips = [
        clip(tmp_path / "in" / name),
        clip(Path("/else/where.mp4"), rejected=("short: frames 2",)),
        Clip(path=tmp_path / "a.png", kind="image", width=8, height=8, offset=512, num_bytes=99),
    ]
    write(tmp_path / "list.jsonl", clips)
    assert read_manifest(tmp_path / "list.jsonl") == clips
    assert not (tmp_path / "list.jsonl.new").exists()


def test_a_folder_may_be_moved_with_its_list(tmp_path: Path):
    (tmp_path / "old").mkdir()
    write(tmp_path / "old" / "list.jsonl", [clip(tmp_path / "old" / "sub" / "a.mp4")])
    (tmp_path / "old").rename(tmp_path / "new")
    found = read_manifest(tmp_path / "new" / "list.jsonl")[0].path
    assert found == tmp_path / "new" / "sub" / "a.mp4"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is not a list of clips"),
        ("[]\n", "is not a list of clips"),
        ('{"format": "diffst clips 9"}\n', "does not say `diffst clips 1`"),
        ("\x00\xff binary", "is not a list of clips"),
        (header({}) + '\n{"path": "a"}\n', "line 2: not a clip"),
        (header({}) + "\n{broken\n", "line 2: not a clip"),
        (header({}) + "\n[1]\n", "line 2: not a clip"),
    ],
)
def test_what_is_no_list_is_said(tmp_path: Path, text: str, sentence: str):
    (tmp_path / "list.jsonl").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=sentence):
        read_manifest(tmp_path / "list.jsonl")


def test_a_list_that_is_not_there_is_said(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="no list of clips"):
        read_manifest(tmp_path / "list.jsonl")


def test_a_line_holds_what_was_measured(tmp_path: Path):
    line = json.loads(to_line(clip(tmp_path / "a.mp4"), tmp_path))
    assert line["path"] == "a.mp4"
    assert (line["start"], line["frame_rate"]) == ("1001/30000", "30000/1001")
    assert line["sharpness"] == 0.7
    assert line["rejected"] == []


GOOD = {
    "path": "a.mp4", "kind": "video", "width": 96, "height": 64, "start": "1/3", "num_frames": 5,
    "frame_rate": "25", "rejected": [],
}  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("start", "1e3000000", "`start` is no number"),
        ("start", "9" * 20, "`start` is no number"),
        ("start", "1/0", "`start` is no number"),
        ("start", float("inf"), "`start` is no number"),
        ("start", 1e308, "`start` is no number"),
        ("start", "4294967296", "is too large"),
        ("start", [1], "`start` is no number"),
        ("start", True, "`start` is no number"),
        ("frame_rate", "1e999999999", "`frame_rate` is no number"),
        ("frame_rate", "0", "`frame_rate` is not above 0"),
        ("frame_rate", -25, "`frame_rate` is not above 0"),
        ("width", "96", "`width` is no whole number"),
        ("height", 0, "`height` is no whole number from 1"),
        ("num_frames", 2**31, "`num_frames` is no whole number from 1 to 2147483647"),
        ("num_frames", 1.5, "`num_frames` is no whole number"),
        ("offset", -1, "`offset` is no whole number"),
        ("offset", 512, "`num_bytes` is no whole number"),
        ("num_bytes", 10, "`offset` is no whole number"),
        ("kind", "text", "`kind` is one of video, image"),
        ("path", 3, "`path` is no path"),
        ("path", "a\0b", "`path` is no path"),
        ("rejected", "soft", "`rejected` is no list of texts"),
        ("sharpness", "high", "`sharpness` is neither a field of a clip nor a number"),
    ],
)
def test_a_strangers_line_is_checked_at_once(tmp_path: Path, key: str, value, sentence: str):
    with pytest.raises(ValueError, match=f"^not a clip: `.*{sentence}"):
        from_line(json.dumps({**GOOD, key: value}), tmp_path)


def test_lists_in_lists_are_no_clip(tmp_path: Path):
    with pytest.raises(ValueError, match="not a clip"):
        from_line("[" * 100_000, tmp_path)


def test_numbers_may_be_written_in_any_way(tmp_path: Path):
    found = from_line(json.dumps({**GOOD, "start": 0.04, "frame_rate": 24}), tmp_path)
    assert (found.start, found.frame_rate) == (Fraction(1, 25), Fraction(24))
    found = from_line(json.dumps({**GOOD, "start": "-12.5", "frame_rate": "24000/1001"}), tmp_path)
    assert (found.start, found.frame_rate) == (Fraction(-25, 2), Fraction(24000, 1001))
