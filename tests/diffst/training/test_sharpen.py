"""nano-sharp is nano with more of the detail that it adds."""

from __future__ import annotations

from pathlib import Path

import torch

from diffst.checkpoint import NANO_FOLDER, load_pipeline
from diffst.codec import resize
from diffst.folders import EMBEDDED
from diffst.training.sharpen import MORE_DETAIL, sharpen


def test_the_one_in_the_package_is_made_of_nano(tmp_path: Path):
    sharpen(NANO_FOLDER, tmp_path)
    made, packed = load_pipeline(tmp_path), load_pipeline(EMBEDDED["nano-sharp"])
    assert dict(made.config) == dict(packed.config)
    for name in ("cfca", "transformer", "codec"):
        ours, theirs = (getattr(pipeline, name).state_dict() for pipeline in (made, packed))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), (
            "after changing nano run `make nano-sharp hashes`"
        )


def test_it_adds_a_quarter_more_detail():
    torch.manual_seed(0)
    clip = (resize(torch.rand(1, 3, 6, 8), (24, 32)) * 0.4 + 0.3).expand(3, -1, -1, -1)
    plain = resize(clip[:1], (96, 128))
    nano, sharp = (
        load_pipeline(EMBEDDED[name])(clip, [(1, 0.0)], (96, 128)) - plain
        for name in ("nano", "nano-sharp")
    )
    assert nano.abs().mean() > 1e-3
    torch.testing.assert_close(sharp, MORE_DETAIL * nano, atol=1e-5, rtol=0)
