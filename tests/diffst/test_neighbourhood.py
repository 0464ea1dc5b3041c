"""The motion of a part of a clip is the motion of the whole."""

import pytest
import torch

from diffst import neighbourhood
from diffst.cfca import CFCA
from diffst.flow import neighbour_flows
from diffst.neighbourhood import ClipMotion
from diffst.pixels import to_integer
from tests.diffst.test_tiling import moving_texture
from tests.diffst.tiny import tiny_pipeline

WHOLE = (slice(0, 96), slice(0, 128))


@pytest.fixture(scope="module")
def cfca() -> CFCA:
    return tiny_pipeline().cfca


@pytest.mark.parametrize("at_once", [1, 1000])
def test_flows_found_bit_by_bit_are_those_of_the_whole_clip(monkeypatch, cfca, at_once):
    monkeypatch.setattr(neighbourhood, "FLOW_BYTES", at_once * 16 * 96 * 128)
    clip = moving_texture(7, 96, 128)
    flows = neighbour_flows(clip)
    motion = ClipMotion(clip)
    for instants in ([(0, 0.0), (0, 0.5)], [(2, 0.25)], [(3, 0.0), (4, 0.5)], [(6, 0.0)]):
        made = motion.around(instants).aggregate(cfca, WHOLE)
        expected = cfca(clip, flows, instants)
        torch.testing.assert_close(made.frames, expected.frames, rtol=0, atol=1e-6)
        torch.testing.assert_close(made.context, expected.context, rtol=0, atol=1e-6)


def test_a_window_is_cut_out_of_the_whole(cfca):
    clip = moving_texture(4, 200, 260)
    around = ClipMotion(clip).around([(1, 0.0), (1, 0.5)])
    window = (slice(80, 120), slice(100, 164))
    assert around.reached(window)[1].start > 0, "the test does not cut"
    expected = cfca(clip, neighbour_flows(clip), [(1, 0.0), (1, 0.5)])
    made = around.aggregate(cfca, window)
    inside = (..., *window)
    torch.testing.assert_close(made.frames, expected.frames[inside], rtol=0, atol=1e-5)
    torch.testing.assert_close(made.context, expected.context[inside], rtol=0, atol=1e-5)


def test_reach_is_bounded_whatever_moves():
    clip = torch.rand(2, 3, 64, 2000)
    around = ClipMotion(clip).around([(0, 0.5)])
    around.flows[0][:] = 900.0
    columns = around.reached((slice(0, 64), slice(1000, 1100)))[1]
    most = neighbourhood.MAX_REACH + neighbourhood.MARGIN
    assert columns.start >= 1000 - most - neighbourhood.GRID
    assert columns.stop == 1100 + most


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
def test_whole_number_frames_are_converted_as_they_are_needed(cfca, dtype):
    clip = to_integer(moving_texture(3, 96, 128), dtype)
    made = ClipMotion(clip).around([(1, 0.5)]).aggregate(cfca, WHOLE)
    highest = 255 if dtype == torch.uint8 else 65535
    expected = ClipMotion(clip.float() / highest).around([(1, 0.5)]).aggregate(cfca, WHOLE)
    torch.testing.assert_close(made.frames, expected.frames, rtol=0, atol=1e-6)
