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
        around = motion.around(instants)
        expected = cfca(clip, flows, instants)
        torch.testing.assert_close(around.aggregate(cfca, WHOLE), expected, rtol=0, atol=1e-6)
        _, context = around.context(cfca, WHOLE)
        expected = cfca.keyframe_context(clip, flows, [n for n, _ in instants])
        torch.testing.assert_close(context, expected, rtol=0, atol=1e-6)


def test_a_window_is_cut_out_of_the_whole(cfca):
    clip = moving_texture(4, 200, 260)
    around = ClipMotion(clip).around([(1, 0.0), (1, 0.5)])
    window = (slice(80, 120), slice(100, 164))
    assert around.reached(window)[1].start > 0, "the test does not cut"
    flows, inside = neighbour_flows(clip), (..., *window)
    expected = cfca(clip, flows, [(1, 0.0), (1, 0.5)])[inside]
    torch.testing.assert_close(around.aggregate(cfca, window), expected, rtol=0, atol=1e-5)
    frames, context = around.context(cfca, window)
    expected = cfca.keyframe_context(clip, flows, [1, 1])[inside]
    assert torch.equal(frames, clip[[1, 1]][inside])
    torch.testing.assert_close(context, expected, rtol=0, atol=1e-5)
    ways = ClipMotion(clip).around([(1, 0.5)]).ways(cfca, window)
    whole = cfca.ways(clip, flows, [(1, 0.5)])
    torch.testing.assert_close(ways.paths, whole.paths[inside], rtol=0, atol=1e-4)
    torch.testing.assert_close(ways.shares, whole.shares[inside], rtol=0, atol=1e-4)


def test_reach_is_bounded_whatever_moves():
    clip = torch.rand(2, 3, 64, 2000)
    around = ClipMotion(clip).around([(0, 0.5)])
    around.flows[0][:] = 900.0
    columns = around.reached((slice(0, 64), slice(1000, 1100)))[1]
    most = neighbourhood.MAX_REACH + neighbourhood.MARGIN
    assert columns.start >= 1000 - most - neighbourhood.GRID
    assert columns.stop == 1100 + most


@pytest.mark.parametrize("speed", [20.5, -20.5])
def test_reach_is_two_steps_of_the_fastest_motion_and_what_convolutions_look_around(speed):
    around = ClipMotion(torch.rand(2, 3, 64, 2000)).around([(0, 0.5)])
    around.flows[0][:] = 0.0
    around.flows[0][..., 30, 1050] = speed
    rows, columns = around.reached((slice(24, 40), slice(1003, 1100)))
    reach = 2 * 21 + 40
    assert columns == slice(920, 1100 + reach)  # on the grid
    assert rows == slice(0, 64)
    around.flows[0][..., 1101] = 99.0  # is not in the window
    assert around.reached((slice(24, 40), slice(1003, 1100)))[1] == columns


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
def test_whole_number_frames_are_converted_as_they_are_needed(cfca, dtype):
    clip = to_integer(moving_texture(3, 96, 128), dtype)
    made = ClipMotion(clip).around([(1, 0.5)]).aggregate(cfca, WHOLE)
    highest = 255 if dtype == torch.uint8 else 65535
    expected = ClipMotion(clip.float() / highest).around([(1, 0.5)]).aggregate(cfca, WHOLE)
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-6)


def count_found(monkeypatch) -> list[int]:
    """Lengths of the runs of keyframes whose motion is sought, as it is sought."""
    sought: list[int] = []

    def counted(frames):
        sought.append(len(frames))
        return neighbour_flows(frames)

    monkeypatch.setattr(neighbourhood, "neighbour_flows", counted)
    return sought


def test_motion_between_keyframes_of_two_clips_is_sought_once(monkeypatch, cfca):
    video = moving_texture(10, 96, 128)
    sought = count_found(monkeypatch)
    first = ClipMotion(video[:8])
    for n in range(6):
        first.around([(n, 0.0), (n, 0.5)])
    second = ClipMotion(video[4:], first.end())
    made = second.around([(1, 0.0), (2, 0.5)]).aggregate(cfca, WHOLE)
    assert sought == [8, 3], "pairs 4 to 7 were known, 7 to 10 were not"
    expected = ClipMotion(video[4:]).around([(1, 0.0), (2, 0.5)]).aggregate(cfca, WHOLE)
    assert torch.equal(made, expected)


@pytest.mark.parametrize("other", ["other pictures", "another size", "another type"])
def test_motion_of_another_video_is_not_taken_over(monkeypatch, other):
    video = moving_texture(8, 96, 128)
    first = ClipMotion(video)
    first.around([(5, 0.0)])
    sought = count_found(monkeypatch)
    second = {
        "other pictures": video[4:] + 1e-3,
        "another size": video[4:, :, :80],
        "another type": to_integer(video[4:], torch.uint16),
    }[other]
    ClipMotion(second, first.end()).around([(0, 0.0)])
    assert sought == [4]


def test_a_clip_that_begins_alike_and_goes_on_differently_takes_over_what_is_alike(monkeypatch):
    video = moving_texture(8, 96, 128)
    first = ClipMotion(video)
    first.around([(4, 0.0)])
    sought = count_found(monkeypatch)
    second = video[2:].clone()
    second[2:] += 0.01
    ClipMotion(second, first.end()).around([(0, 0.0)])
    assert sought == [5], "only the first pair is alike"


def test_a_clip_with_one_other_keyframe_takes_over_nothing_from_behind_it(monkeypatch):
    video = moving_texture(8, 96, 128)
    first = ClipMotion(video)
    first.around([(4, 0.0)])
    sought = count_found(monkeypatch)
    second = video[2:].clone()
    second[1] += 0.01
    ClipMotion(second, first.end()).around([(0, 0.0)])
    assert sought == [6]


def test_a_clip_that_begins_before_the_motion_that_is_remembered_finds_its_own():
    video = moving_texture(9, 96, 128)
    first = ClipMotion(video)
    first.around([(8, 0.0)])
    second = ClipMotion(video, first.end({0: torch.zeros(1)}))
    expected = ClipMotion(video)
    for n in range(9):
        found, wanted = (motion.around([(n, 0.0)]).flows for motion in (second, expected))
        assert all(torch.equal(*pair) for pair in zip(found, wanted, strict=True))


def test_nothing_is_taken_over_from_another_device():
    video = moving_texture(3, 96, 128)
    assert not ClipMotion(video).end().flows_of(video.to("meta"))


def test_finished_keyframes_are_taken_over_where_their_neighbours_are_the_same():
    video = moving_texture(9, 96, 128)
    first = ClipMotion(video[:7])
    first.around([(4, 0.0)])
    pictures = {n: torch.full((1,), float(n)) for n in range(1, 7)}
    before = first.end(pictures)
    again = before.pictures_of(video[1:])
    assert {n: float(picture) for n, picture in again.items()} == {2: 3.0, 3: 4.0}, (
        "5 saw no 7, 1 and 2 see no 0"
    )
    changed = video[1:].clone()
    changed[5] += 0.01  # 6 of the first clip, which 4 saw
    assert set(before.pictures_of(changed)) == {2}
    assert not before.pictures_of(video[2:, :, :80])


def test_motion_from_before_a_clip_is_not_handed_on_by_it():
    video = moving_texture(9, 96, 128)
    first = ClipMotion(video)
    for n in (2, 6):
        first.around([(n, 0.0)])
    second = ClipMotion(video[6:], first.end())
    second.around([(0, 0.0)])
    before = second.end()
    expected = neighbour_flows(video[6:])
    found = before.flows_of(video[6:])
    assert sorted(found) == [0, 1]
    assert all(torch.equal(found[pair], expected[pair]) for pair in found)


def test_what_is_remembered_of_a_clip_does_not_hold_all_of_it():
    video = moving_texture(9, 96, 128)
    motion = ClipMotion(video)
    motion.around([(8, 0.0)])
    kept = motion.end().frames
    assert len(kept) < 9
    assert kept.untyped_storage().nbytes() == kept.numel() * 4
