"""The colour that a file leaves unsaid."""

from dataclasses import replace

import pytest

from diffst_cli.colour import Colour, fill_in

UNSTATED = Colour(matrix=None, range=None, primaries=None, transfer=None, chroma_location=None)


@pytest.mark.parametrize(
    ("pixel_format", "stated", "expected"),
    [
        ("gray", None, "pc"),
        ("gray", "tv", "tv"),
        ("gray10le", None, "pc"),
        ("ya8", None, "pc"),
        ("yuv420p", None, "tv"),
        ("yuv420p", "pc", "pc"),
        ("yuvj420p", "tv", "pc"),
    ],
)
def test_grey_is_of_full_range_unless_it_says_otherwise(
    pixel_format: str, stated: str | None, expected: str
):
    given = replace(UNSTATED, range=stated)
    assert fill_in(given, pixel_format=pixel_format, is_rgb=False, height=48).range == expected


@pytest.mark.parametrize(
    ("pixel_format", "stated", "expected"),
    [
        ("yuvj420p", None, "center"),
        ("yuvj420p", "topleft", "topleft"),
        ("yuv420p", None, "left"),
    ],
)
def test_chroma_lies_in_the_middle_in_jpegs_unless_they_say_otherwise(
    pixel_format: str, stated: str | None, expected: str
):
    given = replace(UNSTATED, chroma_location=stated)
    found = fill_in(given, pixel_format=pixel_format, is_rgb=False, height=48)
    assert found.chroma_location == expected


@pytest.mark.parametrize(
    ("pixel_format", "height", "stated", "expected"),
    [
        ("yuv420p", 719, None, "smpte170m"),
        ("yuv420p", 720, None, "bt709"),
        ("yuv420p", 1080, "bt2020nc", "bt2020nc"),
        ("yuv420p", 1080, "gbr", "bt709"),  # which no Y'CbCr is
        ("yuvj420p", 1080, None, "smpte170m"),  # as JPEG says
    ],
)
def test_the_matrix_is_guessed_by_height_but_of_jpegs(
    pixel_format: str, height: int, stated: str | None, expected: str
):
    given = replace(UNSTATED, matrix=stated)
    found = fill_in(given, pixel_format=pixel_format, is_rgb=False, height=height)
    assert found.matrix == expected
