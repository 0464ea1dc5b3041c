"""Pictures taken as a video: which they are, in which order, and what is refused."""

import struct
import zlib
from fractions import Fraction

import numpy as np
import pytest

from diffst_cli.errors import UserError
from diffst_cli.probe import probe
from tests import media
from tests.cli.test_probe import refuse, write

F = Fraction


def test_a_folder_of_pictures_is_a_video_of_24_frames_a_second(tmp_path):
    info = probe(media.make_png_folder(tmp_path / "p"))
    assert (info.container, info.num_frames, info.frame_rate) == ("image2", 4, F(24))
    assert (info.width, info.height, info.bit_depth) == (24, 16, 8)
    assert probe(media.make_png_folder(tmp_path / "d", deep=True)).bytes_per_sample == 2


def test_a_folder_is_in_natural_order(tmp_path):
    for name in ("f10.png", "f9.png", "f1.png", ".hidden.png"):
        media.write_image(tmp_path / name, np.zeros((2, 2, 3), np.uint8))
    (tmp_path / "notes.txt").write_text("not a picture")
    assert [path.name for path in probe(tmp_path).images] == ["f1.png", "f9.png", "f10.png"]


def test_a_pattern_starts_at_any_number(tmp_path):
    media.make_png_folder(tmp_path, first=9998)
    info = probe(tmp_path / "frame_%04d.png")
    assert [path.name for path in info.images][:2] == ["frame_9998.png", "frame_9999.png"]
    assert info.num_frames == 4


def test_a_pattern_with_a_missing_number_is_refused(tmp_path):
    media.make_png_folder(tmp_path)
    (tmp_path / "frame_0002.png").unlink()
    assert "lacks picture 2" in refuse(tmp_path / "frame_%04d.png")


def test_a_missing_number_whose_picture_ends_in_capitals_is_told(tmp_path):
    media.make_png_folder(tmp_path)
    (tmp_path / "frame_0002.png").rename(tmp_path / "frame_0002.PNG")
    with pytest.raises(UserError, match="lacks picture 2") as caught:
        probe(tmp_path / "frame_%04d.png")
    assert caught.value.hint == (
        "`frame_0002.PNG` differs in small and capital letters; "
        "give the folder instead to take the pictures as they are"
    )
    assert probe(tmp_path).num_frames == 4


def test_two_pictures_of_one_number_are_refused(tmp_path):
    for name in ("1.png", "01.png", "2.png"):
        media.write_image(tmp_path / name, np.zeros((2, 2, 3), np.uint8))
    assert "`01.png` and `1.png` are both picture 1 of" in refuse(tmp_path / "%d.png")
    assert probe(tmp_path).num_frames == 3


def test_a_pattern_that_matches_nothing_is_refused(tmp_path):
    assert "no files match" in refuse(tmp_path / "frame_%04d.png")
    assert "not a pattern of" in refuse(tmp_path / "frame_%04d.mp4")


def test_a_folder_of_two_kinds_is_refused(tmp_path):
    media.make_png_folder(tmp_path)
    media.write_image(tmp_path / "x.jpg", np.zeros((16, 24, 3), np.uint8))
    assert "mixes kinds" in refuse(tmp_path)


def test_an_animated_png_is_a_video_whatever_comes_before_its_mark(tmp_path):
    path = media.make_video(tmp_path / "a.png", pixel_format="rgb24", encoder=("-f", "apng"))
    assert (probe(path).codec, probe(path).num_frames) == ("apng", 10)
    data = path.read_bytes()
    words = b"tEXtComment\0" + b"x" * 3000
    chunk = (len(words) - 4).to_bytes(4, "big") + words + zlib.crc32(words).to_bytes(4, "big")
    path.write_bytes(data[:33] + chunk + data[33:])  # after the signature and IHDR
    assert (probe(path).codec, probe(path).num_frames) == ("apng", 10)
    still = media.write_image(tmp_path / "s.png", np.zeros((4, 4, 3), np.uint8))
    assert probe(still).num_frames == 1


@pytest.mark.parametrize(
    ("kind", "value", "is_page"),
    [(4, 1, False), (4, 0, True), (4, 4, False), (3, 1, False), (4, 2, True)],
    ids=["thumbnail", "page", "mask", "short", "page of a book"],
)
def test_a_tiff_of_several_pages_is_refused_but_not_for_its_thumbnail(
    tmp_path, kind, value, is_page
):
    path = media.write_image(tmp_path / "a.tif", np.zeros((4, 4, 3), np.uint8))
    data = bytearray(path.read_bytes())
    first = int.from_bytes(data[4:8], "little")
    pointer = first + 2 + 12 * int.from_bytes(data[first : first + 2], "little")
    data[pointer : pointer + 4] = len(data).to_bytes(4, "little")
    stored = struct.pack("<HH" if kind == 3 else "<I", *([value, 0xFFFF] if kind == 3 else [value]))
    data += (
        struct.pack("<HHHI", 1, 254, kind, 1) + stored + bytes(4)
    )  # a page that only says what it is
    path.write_bytes(data)
    if is_page:
        assert "a.tif` has several pages" in refuse(path)
    else:
        assert probe(path).num_frames == 1


def test_a_text_named_png_is_refused(tmp_path):
    assert "not a readable picture" in refuse(write(tmp_path / "a.png", b"words " * 50))
