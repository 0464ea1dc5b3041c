"""Frames between keyframes for models that make none."""

import pytest
import torch

from diffst.cfca import CFCA
from diffst.checkpoint import NANO_FOLDER, load_component
from diffst.flow import neighbour_flows
from diffst.star.new_frames import frames_at
from tests.diffst.test_cfca import smooth_clip


@pytest.fixture(scope="module")
def cfca() -> CFCA:
    return load_component(CFCA, NANO_FOLDER / "cfca").requires_grad_(False)


def test_keyframes_pass_and_new_frames_are_cfcas(cfca):
    frames = smooth_clip(4)
    instants = [(0, 0.0), (0, 0.5), (1, 0.0), (2, 0.25), (3, 0.0)]
    made = frames_at(cfca, frames, instants)
    for i, keyframe in ((0, 0), (2, 1), (4, 3)):
        assert torch.equal(made[i], frames[keyframe])
    expected = cfca(frames, neighbour_flows(frames), instants)
    torch.testing.assert_close(made, expected)


def test_groups_of_new_frames_do_not_show(cfca):
    frames = smooth_clip(4)
    instants = [(n, k / 4) for n in range(3) for k in range(1, 4)]
    one_by_one = torch.cat([frames_at(cfca, frames, [instant]) for instant in instants])
    torch.testing.assert_close(frames_at(cfca, frames, instants), one_by_one, rtol=0, atol=1e-6)


def test_an_instant_outside_the_clip_is_refused(cfca):
    with pytest.raises(ValueError, match="outside"):
        frames_at(cfca, smooth_clip(2), [(1, 0.5)])
