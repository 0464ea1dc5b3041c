"""What edit lists ask for that is not done is told, and no damage to them matters."""

import struct
from pathlib import Path

import pytest

from diffst_cli.edit_lists import find_unplayed
from diffst_cli.probe import probe
from tests.outputs import copy_video, make_clip

NORMAL = 1 << 16
TOLD = "that parts of it are played faster or slower, as its edit list says, is not kept"
MOV = "mov,mp4,m4a,3gp,3g2,mj2"


def box(kind: bytes, content: bytes, *, long: bool = False) -> bytes:
    if long:
        return struct.pack(">I4sQ", 1, kind, 16 + len(content)) + content
    return struct.pack(">I4s", 8 + len(content), kind) + content


def edits(*entries: tuple[int, int, int], version: int = 0) -> bytes:
    form = ">Qqi" if version else ">Iii"
    listed = b"".join(struct.pack(form, *entry) for entry in entries)
    return struct.pack(">B3xI", version, len(entries)) + listed


def found_in(path: Path, edit_list: bytes, *, long: bool = False) -> list[str]:
    track = box(b"trak", box(b"tkhd", bytes(84)) + box(b"edts", box(b"elst", edit_list)))
    plain = box(b"trak", box(b"tkhd", bytes(84)))
    data = box(b"mdat", bytes(50), long=long)
    path.write_bytes(box(b"ftyp", b"qt  ") + data + box(b"moov", plain + track))
    return list(find_unplayed(path, MOV))


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize(
    ("entries", "is_told"),
    [
        ([(200, 0, NORMAL), (1600, 200, NORMAL // 4)], True),
        ([(200, 0, NORMAL), (200, 200, 2 * NORMAL)], True),
        ([(200, 0, NORMAL)], False),
        ([(100, -1, NORMAL // 4), (200, 0, NORMAL)], False),  # of nothing
        ([(0, 0, NORMAL // 4), (200, 0, NORMAL)], False),  # for no time
        ([(200, 0, 0)], False),
        ([], False),
    ],
)
def test_a_speed_other_than_normal_is_told(
    version: int, entries: list[tuple[int, int, int]], is_told: bool, tmp_path: Path
) -> None:
    found = found_in(tmp_path / "a.mov", edits(*entries, version=version), long=bool(version))
    assert found == ([TOLD] if is_told else [])


@pytest.mark.parametrize("kept", [0, 3, 7, 8, 15, 19])
def test_of_a_list_that_is_cut_off_only_what_is_whole_counts(kept: int, tmp_path: Path) -> None:
    slow = edits((200, 0, NORMAL // 4))
    assert found_in(tmp_path / "a.mov", slow[:kept]) == []
    assert found_in(tmp_path / "a.mov", slow) == [TOLD]
    whole = (tmp_path / "a.mov").read_bytes()
    (tmp_path / "a.mov").write_bytes(whole[: len(whole) - 20 + kept])
    assert list(find_unplayed(tmp_path / "a.mov", MOV)) == []


@pytest.mark.parametrize("content", [b"", bytes(7), bytes(100), b"\0\0\0\1moov", b"\0\0\0\4moov"])
def test_what_is_no_mov_is_nothing(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.mov"
    path.write_bytes(content)
    assert list(find_unplayed(path, MOV)) == []


def test_slow_motion_that_is_not_kept_is_in_the_receipt(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "source.mov")
    data = bytearray(source.read_bytes())
    at = data.index(b"elst") + 4
    length, place, speed = struct.unpack_from(">Iii", data, at + 8)
    assert (length > 0, place >= 0, speed) == (True, True, NORMAL)
    assert copy_video(source, tmp_path / "plain.mp4").notes == ()
    struct.pack_into(">i", data, at + 16, NORMAL // 4)
    source.write_bytes(data)
    assert copy_video(source, tmp_path / "out.mp4").notes == (TOLD,)
    source.rename(other := tmp_path / "source.mkv")
    assert probe(other).unkept == (TOLD,)  # whatever its name
    assert list(find_unplayed(other, "matroska,webm")) == []
