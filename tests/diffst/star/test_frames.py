"""Pictures are padded as the reference pads them."""

import pytest
import torch

from diffst.star.frames import enlarge, padding_of
from tests.diffst.star.reference import table

CASES = table("star_schedule")["padding"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['w']}x{case['h']}")
def test_padding_is_the_references(case):
    padding = padding_of((case["h"], case["w"]))
    sides = [padding.left, padding.right, padding.top, padding.bottom]
    assert sides == case["pad_w1_w2_h1_h2"]
    padded = padding.pad(torch.zeros(1, 1, case["h"], case["w"], dtype=torch.uint8))
    assert padded.shape[-2:] == (case["H"], case["W"])
    assert padding.crop(padded).shape[-2:] == (case["h"], case["w"])


def test_every_padded_size_fits_the_network():
    for height in range(60, 300, 7):
        padded = padding_of((height, height), (80, 64)).pad(torch.zeros(1, height, height))
        assert padded.shape[-2] % 64 == 16
        assert padded.shape[-1] % 64 == 0


def test_the_padding_is_white_and_cropped_off_again():
    picture = torch.full((1, 3, 10, 12), -0.5)
    padding = padding_of((10, 12), (80, 64))
    padded = padding.pad(picture)
    assert padded[0, 0, 0, 0] == 1.0
    torch.testing.assert_close(padding.crop(padded), picture)


def test_enlarging_maps_to_plus_and_minus_one_without_smoothing():
    row = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2).expand(1, 3, 1, 2)
    assert enlarge(row, (1, 4))[0, 0, 0].tolist() == [-1.0, -0.5, 0.5, 1.0]
