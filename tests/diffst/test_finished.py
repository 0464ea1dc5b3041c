"""What a clip keeps of its finished keyframes, and takes over of the clip before it."""

import torch

from diffst.finished import BetweenTile, Finished, KeyframesInWork
from diffst.fusion import picture_to_look_up
from diffst.neighbourhood import ClipMotion
from diffst.tiling import Canvas, tiles
from tests.diffst.test_cfca import smooth_clip
from tests.diffst.tiny import tiny_pipeline


def test_pictures_are_taken_over_in_the_size_and_type_that_are_made():
    made = torch.zeros(2, 3, 4, 6, dtype=torch.uint8)
    finished = Finished(made, [(1, 0.0), (1, 0.5)], 4)
    picture = torch.full((3, 4, 6), 7, dtype=torch.uint8)
    for other in (picture.transpose(1, 2), picture.float(), picture.to(torch.uint16)):
        finished.take_over({1: picture_to_look_up(other)})
        assert not finished.pictures
        assert made.max() == 0
    finished.take_over({1: picture_to_look_up(picture)})
    assert list(finished.pictures) == [1]
    assert torch.equal(made[0], picture)
    assert made[1].max() == 0, "a new frame is never taken over"


def add(finished: Finished, *numbers: int) -> None:
    pictures = torch.full((len(numbers), 3, 4, 6), 7, dtype=torch.uint8)
    (tile,) = tiles((4, 6), (4, 6))
    finished.add(
        KeyframesInWork(numbers=numbers, pictures=pictures, canvas=Canvas(pictures), last_tile=tile)
    )


def test_an_instant_that_is_asked_for_twice_is_given_twice():
    clip = smooth_clip(3)
    one = tiny_pipeline()(clip, [(1, 0.0)], (97, 161))
    made = tiny_pipeline()(clip, [(1, 0.0), (1, 0.0)], (97, 161))
    assert torch.equal(made, one.expand_as(made))


def test_keyframes_that_no_new_frame_looks_up_are_not_kept():
    made = torch.zeros(3, 3, 4, 6, dtype=torch.uint8)
    finished = Finished(made, [(0, 0.0), (1, 0.0), (2, 0.0)], 3)
    add(finished, 0, 1, 2)
    assert (made == 7).all()
    assert not finished.pictures


def test_keyframes_before_those_of_a_new_frame_are_let_go_with_it():
    made = torch.zeros(6, 3, 4, 6, dtype=torch.uint8)
    finished = Finished(made, [(n, 0.5) for n in range(6)], 7)
    add(finished, *range(7))
    (tile,) = tiles((4, 6), (4, 6))
    around = ClipMotion(torch.rand(7, 3, 4, 6)).around([(3, 0.5)])
    finished.forget(
        BetweenTile(around=around, tile=tile, frame=made[3], keyframes=finished.needed((3, 0.5)))
    )
    assert set(finished.pictures) == {2, 3, 4, 5, 6}
