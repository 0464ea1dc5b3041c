import math
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffst_cli.clips import Clip, Moment
from diffst_cli.stitch import blend, fade_weights, stitch


def clip(first: int, count: int, *, before: int = 0, after: int = 0) -> Clip:
    moments = tuple(
        Moment(keyframe=i, alpha=Fraction(0), times=(Fraction(i, 10),))
        for i in range(first, first + count)
    )
    return Clip(
        frames=(),
        moments=moments,
        shared_before=before,
        shared_after=after,
        first_instant=first,
        starts_shot=False,
    )


def pictures(*values: int, dtype: torch.dtype = torch.uint8) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int32).view(-1, 1, 1, 1).expand(-1, 3, 2, 2).to(dtype)


def test_weights_follow_the_cosine_at_frame_centres():
    quarter = 0.5 - 0.5 * math.cos(math.pi / 4)
    assert fade_weights(1) == pytest.approx([0.5])
    assert fade_weights(2) == pytest.approx([quarter, 1 - quarter])
    assert fade_weights(0) == []


@given(st.integers(1, 500))
def test_weights_rise_between_zero_and_one_and_mirror(count: int):
    weights = fade_weights(count)
    assert all(0 < weight < 1 for weight in weights)
    assert weights == sorted(weights)
    assert weights == pytest.approx([1 - weight for weight in reversed(weights)])


def test_shared_moments_fade_from_one_clip_to_the_next():
    made = [
        (clip(0, 3, after=2), pictures(10, 0, 0)),
        (clip(1, 3, before=2), pictures(100, 100, 20)),
    ]
    frames = list(stitch(made))
    assert [frame.time for frame in frames] == [Fraction(i, 10) for i in range(4)]
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [10, 15, 85, 20]  # 14.6 and 85.4


def test_a_held_moment_is_given_once_for_each_of_its_times():
    held = Moment(keyframe=0, alpha=Fraction(0), times=(Fraction(0), Fraction(1), Fraction(2)))
    whole = replace(clip(0, 1), moments=(held,))
    frames = list(stitch([(whole, pictures(7))]))
    assert [frame.time for frame in frames] == [0, 1, 2]
    assert all(int(frame.image[0, 0, 0]) == 7 for frame in frames)


def test_blending_rounds_to_the_nearest_value():
    mixed = blend(pictures(10)[0], pictures(13)[0], 0.5 + 1e-3)
    assert mixed.dtype == torch.uint8
    assert mixed.unique().tolist() == [12]


@given(st.integers(0, 65535), st.floats(0.001, 0.999))
def test_blending_a_picture_with_itself_changes_nothing(value: int, weight: float):
    deep = pictures(value, dtype=torch.uint16)[0]
    assert torch.equal(blend(deep, deep, weight).int(), deep.int())
    flat = pictures(value % 256)[0]
    assert torch.equal(blend(flat, flat, weight), flat)


def test_a_model_that_makes_too_few_frames_is_found_out():
    with pytest.raises(ValueError, match="made 2 frames of 3"):
        list(stitch([(clip(0, 3), pictures(1, 2))]))


def test_clips_that_disagree_on_what_they_share_are_found_out():
    with pytest.raises(ValueError, match="1 frames held back, but the next clip shares 2"):
        list(
            stitch(
                [
                    (clip(0, 3, after=1), pictures(1, 2, 3)),
                    (clip(1, 3, before=2), pictures(1, 2, 3)),
                ]
            )
        )


def test_what_the_first_clip_shares_with_one_that_is_not_made_comes_unblended():
    made = [
        (clip(5, 3, before=1, after=1), pictures(9, 8, 10)),
        (clip(7, 2, before=1), pictures(20, 7)),
    ]
    assert [int(frame.image[0, 0, 0]) for frame in stitch(made)] == [9, 8, 15, 7]


def test_a_clip_that_never_came_is_found_out():
    with pytest.raises(ValueError, match="never came"):
        list(stitch([(clip(0, 3, after=1), pictures(1, 2, 3))]))
