from fractions import Fraction

import cv2
import numpy as np
import pytest

from diffst_cli.dataset.measures import detail, motion, repeats, sharpness, unevenness
from tests.diffst.wan.training.footage import texture


def grey(height: int = 256, width: int = 384):
    return texture(height, width)[..., 0].copy()


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("interpolation", [cv2.INTER_LINEAR, cv2.INTER_CUBIC])
def test_an_enlarged_picture_is_softer_than_any_real_one(factor: int, interpolation: int):
    real = grey()
    height, width = real.shape
    small = cv2.resize(real, (width // factor, height // factor), interpolation=cv2.INTER_AREA)
    enlarged = cv2.resize(small, (width, height), interpolation=interpolation)
    assert sharpness(real) > 0.5
    assert sharpness(enlarged) < 0.38


def test_contrast_does_not_count_as_sharpness():
    real = grey()
    pale = cv2.addWeighted(real, 0.5, np.full_like(real, 128), 0.5, 0)
    assert sharpness(pale) == pytest.approx(sharpness(real), rel=0.1)


def test_a_soft_background_does_not_count():
    real = grey()
    behind = cv2.GaussianBlur(real, (0, 0), 8)
    behind[64:192, 96:288] = real[64:192, 96:288]  # a quarter
    assert detail(behind) == pytest.approx(detail(real), rel=0.2)
    assert sharpness(behind) == pytest.approx(sharpness(real), rel=0.2)


@pytest.mark.parametrize("shape", [(256, 256), (20, 30), (40, 40)])
def test_a_flat_or_tiny_picture_has_no_sharpness(shape: tuple[int, int]):
    assert sharpness(np.full(shape, 90, np.uint8)) == 0


def test_motion_is_in_percent_of_the_width():
    plane = grey(180, 320)
    moved = np.roll(plane, 4, axis=1)
    assert motion(plane, moved) == pytest.approx(100 * 4 / 320, rel=0.1)  # but for the border
    assert motion(plane, plane) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize(
    ("changes", "share"),
    [
        ([5.0] * 10, 0.0),
        ([5.0, 0.0] * 5, 0.5),  # every frame twice
        ([5.0, 5.0, 5.0, 5.0, 0.1] * 2, 0.2),
        ([10.0] * 9 + [1000.0], 0.0),  # a flash
        ([0.0] * 10, 0.0),
        ([], 0.0),
    ],
)
def test_repeated_frames_are_counted(changes: list[float], share: float):
    assert repeats(changes) == pytest.approx(share)


def test_uneven_times_are_counted():
    even = [Fraction(n, 25) for n in range(11)]
    assert unevenness(even) == 0
    # One frame missing makes one gap twice as long.
    assert unevenness([*even[:5], *even[6:]]) == pytest.approx(1 / 9)
    jitter = [time + Fraction(n % 2, 100) for n, time in enumerate(even)]
    assert unevenness(jitter) == 0
    assert unevenness(even[:1]) == 0
