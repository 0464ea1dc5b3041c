"""Colour fixes give what the reference's give."""

import pytest
import torch
from einops import rearrange

from diffst.star.colour import fix_colours
from tests.diffst.star.reference import assert_near, tensors


@pytest.mark.parametrize(
    ("method", "style", "out"),
    [("adain", "source_lr", "adain_out"), ("wavelet", "source_full", "wavelet_out")],
)
def test_a_colour_fix_is_the_references(method, style, out):
    known = tensors("star_color")
    pictures = rearrange(known["target"], "n h w c -> n c h w") / 255
    fixed = fix_colours(pictures, known[style] / 2 + 0.5, method)
    assert_near(rearrange(fixed, "n c h w -> n h w c") * 255, known[out], 2e-3)


def test_no_fix_changes_nothing():
    pictures = torch.rand(1, 3, 8, 8)
    assert fix_colours(pictures, torch.rand(1, 3, 4, 4), "none") is pictures


def test_a_plain_frame_takes_the_originals_mean():
    fixed = fix_colours(torch.full((1, 3, 8, 8), 0.2), torch.full((1, 3, 4, 4), 0.7), "adain")
    assert_near(fixed, torch.full((1, 3, 8, 8), 0.7), 1e-6)


def test_an_unknown_fix_is_refused():
    with pytest.raises(ValueError, match="colour fix `sepia` is not one of adain, wavelet, none"):
        fix_colours(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 4, 4), "sepia")
