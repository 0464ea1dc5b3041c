from fractions import Fraction

import cv2
import numpy as np
import pytest

from diffst_cli.pixels import Image
from diffst_cli.preview.features import Features, look, text_share
from diffst_cli.reader import Frame

RNG = np.random.default_rng(5)


def grey(level: int) -> Image:
    return np.full((90, 160, 3), level, np.uint8)


def features(*pictures: Image) -> list[Features]:
    frames = [
        Frame(image=picture, time=Fraction(index, 10), index=index)
        for index, picture in enumerate(pictures)
    ]
    return list(look(frames))


def edges_of(picture: Image) -> np.ndarray:
    return cv2.morphologyEx(picture, cv2.MORPH_GRADIENT, np.ones((2, 2), np.uint8))


def test_brightness_contrast_and_movement_are_plain_numbers():
    half = grey(0)
    half[:, :80] = 100
    seen = features(*[grey(40), half] * 6)
    flat, split = seen[4], seen[5]
    assert (flat.brightness, flat.contrast, flat.detail) == (40, 0, 0)
    assert (split.brightness, split.contrast) == pytest.approx((50, 50), abs=0.01)
    assert flat.movement == split.movement == 50  # 60 up on one half, 40 down on the other
    assert split.time == Fraction(5, 10)


def test_deep_pictures_count_like_others():
    (deep,) = features(grey(40).astype(np.uint16) * 257)
    assert deep.brightness == 40


def test_a_cut_is_no_movement():
    seen = features(*[grey(20)] * 10, *[grey(220)] * 10)
    assert [one.starts_shot for one in seen].count(True) == 2
    assert seen[10].starts_shot
    assert max(one.movement for one in seen) == 0


def test_text_is_found_and_leaves_are_not():
    page = np.full((270, 480), 235, np.uint8)
    for row in range(3):
        place = (40, 60 + 40 * row)
        cv2.putText(page, "Telling moments of it", place, cv2.FONT_HERSHEY_SIMPLEX, 0.8, 20, 2)
    leaves = cv2.GaussianBlur(RNG.integers(0, 256, (270, 480), dtype=np.uint8), (0, 0), 2) * 4
    plain = np.full((270, 480), 128, np.uint8)
    assert text_share(edges_of(page)) > 0.02
    assert text_share(edges_of(leaves)) < 0.004
    assert text_share(edges_of(plain)) == 0
