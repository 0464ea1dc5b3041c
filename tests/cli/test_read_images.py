"""Pictures one after another come out in order, in their own colours and depth."""

from fractions import Fraction

import numpy as np
import pytest

from diffst_cli.errors import UserError
from diffst_cli.probe import probe
from diffst_cli.reader import LOST_TRANSPARENCY, read_frames
from tests import media
from tests.cli.test_reader import read, times


def test_a_folder_is_read_in_order(tmp_path):
    frames = read(media.make_png_folder(tmp_path))
    assert [frame.time for frame in frames] == [Fraction(n, 24) for n in range(4)]
    assert [int(frame.image[3, 3, 1]) for frame in frames] == [0, 10, 20, 30]


def test_deep_pictures_keep_their_values(tmp_path):
    frames = read(media.make_png_folder(tmp_path, deep=True))
    assert [int(frame.image[3, 3, 1]) for frame in frames] == [0, 2570, 5140, 7710]


@pytest.mark.parametrize("suffix", [".jpg", ".bmp", ".tif"])
def test_other_kinds_of_pictures_come_in_their_colours(tmp_path, suffix):
    media.write_image(tmp_path / f"a{suffix}", np.full((16, 16, 3), (200, 60, 40), np.uint8))
    colour = read(tmp_path)[0].image[8, 8].astype(int)
    assert np.abs(colour - (200, 60, 40)).max() <= (2 if suffix == ".jpg" else 0)


def test_a_part_of_a_sequence_is_taken_by_time(tmp_path):
    media.make_png_folder(tmp_path)
    assert times(tmp_path, start=Fraction(1, 24), duration=Fraction(2, 24)) == [
        Fraction(1, 24),
        Fraction(2, 24),
    ]


@pytest.mark.parametrize("first_has_alpha", [False, True])
def test_each_picture_may_have_transparency(tmp_path, first_has_alpha):
    opaque = media.write_image(tmp_path / "a.png", np.full((8, 8, 3), (200, 60, 40), np.uint8))
    media.write_image(tmp_path / "b.png", np.full((8, 8, 4), (255, 0, 0, 0), np.uint8))
    if first_has_alpha:
        opaque.rename(tmp_path / "c.png")
    reader = read_frames(probe(tmp_path))
    colours = sorted(frame.image[4, 4].tolist() for frame in reader)
    assert colours == [[0, 0, 0], [200, 60, 40]]
    assert reader.report.transparency == LOST_TRANSPARENCY


def test_only_pictures_deeper_than_the_first_are_refused(tmp_path):
    media.write_image(tmp_path / "b.png", np.full((8, 8, 3), 0x1234, np.uint16))
    media.write_image(tmp_path / "c.png", np.full((8, 8, 3), 0x12, np.uint8))
    assert [int(frame.image[4, 4, 0]) for frame in read(tmp_path)] == [0x1234, 0x1212]
    media.write_image(tmp_path / "a.png", np.full((8, 8, 3), 0x12, np.uint8))
    with pytest.raises(UserError, match=r"b.png` has 16 bits, but the first picture has 8"):
        read(tmp_path)


def test_a_first_picture_of_black_and_white_alone_may_be_followed_by_colours(tmp_path):
    media.run_ffmpeg(
        "-f",
        "lavfi",
        "-i",
        "color=black:s=8x8",
        "-frames:v",
        "1",
        "-pix_fmt",
        "monob",
        tmp_path / "a.png",
    )
    media.write_image(tmp_path / "b.png", np.full((8, 8, 3), 0x12, np.uint8))
    assert [int(frame.image[4, 4, 0]) for frame in read(tmp_path)] == [0, 0x12]


def test_pictures_of_two_sizes_are_refused(tmp_path):
    media.make_png_folder(tmp_path)
    media.write_image(tmp_path / "frame_0009.png", np.zeros((10, 10, 3), np.uint8))
    with pytest.raises(
        UserError, match=r"frame_0009.png` is 10x10, but the first picture is 24x16"
    ):
        read(tmp_path)
