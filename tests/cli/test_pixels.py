"""Transparency over black, and white put right: to the nearest code."""

import numpy as np
import pytest

from diffst_cli.pixels import Image, composite, is_transparent, shrink_white, stretch_white


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_what_is_half_transparent_is_rounded_to_the_nearest(kind: type) -> None:
    full = np.iinfo(kind).max
    codes: Image = np.arange(0, full + 1, full // 51, dtype=kind)
    picture = np.stack(np.broadcast_arrays(*[codes[:, None]] * 3, codes[None]), axis=-1)
    wanted = picture[..., :3] / full * picture[..., 3:]
    assert np.abs(composite(picture) - wanted).max() <= 0.5
    assert np.array_equal(composite(picture[..., :3]), picture[..., :3])


@pytest.mark.parametrize(
    ("kind", "alpha", "is_so"),
    [
        (np.uint8, 255, False),
        (np.uint8, 254, True),
        (np.uint16, 65535, False),
        (np.uint16, 65472, False),  # what ffmpeg makes of an opaque 10-bit pixel
        (np.uint16, 65279, True),  # 254 of 255
    ],
)
def test_a_pixel_is_transparent_if_8_bits_tell(kind: type, alpha: int, is_so: bool) -> None:
    picture: Image = np.full((2, 2, 4), np.iinfo(kind).max, kind)
    picture[1, 0, 3] = alpha
    assert is_transparent(picture) == is_so
    assert not is_transparent(picture[..., :3])


def test_white_and_what_is_brighter_becomes_white() -> None:
    given = np.array([[[0, 32640, 65280]], [[65281, 65535, 1]]], np.uint16)
    stretched = stretch_white(given, 65280)
    assert stretched.tolist() == [[[0, 32768, 65535]], [[65535, 65535, 1]]]
    assert shrink_white(stretched, 65280).tolist() == [[[0, 32640, 65280]], [[65280, 65280, 1]]]
