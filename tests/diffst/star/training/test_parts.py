"""What a run of STAR trains, and what it leaves alone."""

import pytest
import torch

from diffst.star.build import SIZES
from diffst.star.network import StarUNet
from diffst.star.training.parts import train_parts


def network(**config) -> StarUNet:
    with torch.device("meta"):
        return StarUNet(**config)


def test_as_many_parameters_are_trained_as_the_authors_trained():
    published = network()
    assert sum(p.numel() for p in train_parts(published, "control")) == 629_888_050
    assert sum(p.numel() for p in train_parts(published, "local")) == 2_354


def test_control_is_the_control_branch_and_every_local_enhancement():
    tiny = network(**SIZES["tiny"].unet).requires_grad_(False)
    train_parts(tiny, "control")
    trained = {name for name, value in tiny.named_parameters() if value.requires_grad}
    assert trained == {
        name
        for name, _ in tiny.named_parameters()
        if name.startswith("VideoControlNet.") or "local" in name
    }
    assert tiny.training


def test_other_parts_are_refused():
    with pytest.raises(ValueError, match="`all` is not one of control, local"):
        train_parts(network(**SIZES["tiny"].unet), "all")
