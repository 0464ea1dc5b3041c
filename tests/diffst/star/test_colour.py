"""Colours are matched as the reference does."""

import torch
from einops import rearrange

from diffst.star.colour import match_statistics
from tests.diffst.star.reference import assert_near, tensors


def test_matched_colours_are_the_references():
    known = tensors("star_color")
    pictures = rearrange(known["target"], "n h w c -> n c h w") / 255
    fixed = match_statistics(pictures, known["source_lr"] / 2 + 0.5)
    assert_near(rearrange(fixed, "n c h w -> n h w c") * 255, known["adain_out"], 2e-3)


def test_a_plain_frame_takes_the_originals_mean():
    fixed = match_statistics(torch.full((1, 3, 8, 8), 0.2), torch.full((1, 3, 4, 4), 0.7))
    assert_near(fixed, torch.full((1, 3, 8, 8), 0.7), 1e-6)
