"""What the package itself gives."""

from importlib.metadata import version

import pytest

import diffst
from diffst.pipeline import DiffSTPipeline
from diffst.upscaler import load_model


def test_it_gives_its_version_and_its_two_doors():
    assert diffst.__version__ == version("diffst")
    assert diffst.DiffSTPipeline is DiffSTPipeline
    assert diffst.load_model is load_model


def test_what_it_does_not_have_is_told_as_usual():
    with pytest.raises(AttributeError, match="module `diffst` has no attribute `version`"):
        _ = diffst.version
