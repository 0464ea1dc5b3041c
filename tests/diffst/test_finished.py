"""What a clip takes over of the one before it."""

import torch

from diffst.finished import Finished
from diffst.fusion import picture_to_look_up


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
