from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest

from diffst.training.degradation import Codec
from diffst.wan.training.degradation import (
    BITRATES,
    BLURS,
    JPEG_QUALITY,
    LEAST_SIDE,
    PASSES,
    Noise,
    Pass,
    SecondOrder,
    _noisy,
    degrade_second_order,
    draw_second_order,
)
from tests.diffst.wan.training.footage import moving

RATE = Fraction(25)
LOSSLESS = Codec(encoder="libx264", arguments=("-qp", "0", "-preset", "ultrafast"))
SILENT = Noise(counted=False, strength=0.0, grey=False, seed=0)
MILD = Pass(
    blur=None, resize=1, interpolation=cv2.INTER_AREA, noise=SILENT, jpeg_quality=95, codec=LOSSLESS
)
NEXT_TO_NOTHING = SecondOrder(
    first=MILD,
    second=MILD,
    codec_last=True,
    last_interpolation=cv2.INTER_AREA,
    last_blur=None,
    walk_seed=0,
)


def draws(count: int = 400) -> list[SecondOrder]:
    return [draw_second_order(np.random.default_rng(seed)) for seed in range(count)]


def test_shares_of_the_blurs_are_all_there_are():
    assert sum(share for _, _, share in BLURS) == pytest.approx(1)


def test_what_is_drawn_keeps_within_the_ranges_and_uses_all_kinds():
    found = draws()
    for wanted, ranges in zip(("first", "second"), PASSES, strict=True):
        passes: list[Pass] = [getattr(draw, wanted) for draw in found]
        assert all(ranges.resize[0] <= p.resize <= ranges.resize[1] for p in passes)
        assert all(JPEG_QUALITY[0] <= p.jpeg_quality <= JPEG_QUALITY[1] for p in passes)
        assert all(BITRATES[0] <= int(p.codec.arguments[-1]) <= BITRATES[1] for p in passes)
        assert {p.blur.shape for p in passes if p.blur} == {shape for shape, _, _ in BLURS}
        assert {p.codec.encoder for p in passes} == {"libx264", "mpeg4"}
        for p in passes:
            low, high = ranges.poisson if p.noise.counted else ranges.gaussian
            assert low <= p.noise.strength <= high
    smaller = np.mean([draw.first.resize < 1 for draw in found])
    assert smaller == pytest.approx(0.7, abs=0.08)  # 3.5 standard deviations of 400 draws
    assert np.mean([draw.second.blur is None for draw in found]) == pytest.approx(0.2, abs=0.07)


def test_the_same_numbers_give_the_same_clip():
    frames = moving(3)
    first, second = (
        degrade_second_order(frames, draw_second_order(np.random.default_rng(5)), frame_rate=RATE)
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("num_frames", [1, 4])
@pytest.mark.parametrize("codec_last", [True, False])
def test_next_to_nothing_is_the_mean_of_four_by_four(num_frames: int, codec_last: bool):
    grey = moving(1)[0, :, :, :1].repeat(3, axis=2)  # of which 4:2:0 loses nothing
    frames = np.stack([grey] * num_frames)
    wanted = replace(NEXT_TO_NOTHING, codec_last=codec_last)
    small = degrade_second_order(frames, wanted, frame_rate=RATE)
    expected = frames.reshape(num_frames, 16, 4, 24, 4, 3).mean((2, 4))
    assert small.shape == (num_frames, 16, 24, 3)
    assert np.abs(small - expected).mean() < 1.0  # of 255: JPEG 95 twice, rounding


def test_noise_is_as_strong_as_asked_and_grey_when_asked():
    frames = np.full((2, 64, 64, 3), 128, np.uint8)
    clean = replace(MILD, noise=replace(SILENT, strength=16.0, grey=True))
    noisy = replace(NEXT_TO_NOTHING, second=clean)
    error = degrade_second_order(frames, noisy, frame_rate=RATE).astype(float) - 128
    assert error.std() == pytest.approx(4.0, rel=0.25)  # 16 pixels' mean
    assert np.abs(error - error.mean(axis=3, keepdims=True)).max() < 3


def test_a_tiny_picture_keeps_a_size_that_codecs_take():
    shrunk = replace(MILD, resize=0.15)
    wanted = replace(NEXT_TO_NOTHING, first=shrunk, second=shrunk)
    assert degrade_second_order(moving(2), wanted, frame_rate=RATE).shape == (2, 16, 24, 3)
    assert LEAST_SIDE >= 16


def test_sides_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="multiples of 8"):
        degrade_second_order(moving(1, (60, 96)), NEXT_TO_NOTHING, frame_rate=RATE)


@pytest.mark.parametrize("level", [64, 144])
def test_noise_of_counted_light_grows_with_its_root(level):
    flat = np.full((200, 200, 3), level, np.float32)
    (made,) = _noisy([flat], Noise(counted=True, strength=0.5, grey=False, seed=1))
    assert (made - flat).std() == pytest.approx(0.5 * level**0.5, rel=0.05)
