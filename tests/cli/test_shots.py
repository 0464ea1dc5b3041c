"""Hard cuts are found; pans, flashes and repeated pictures are not taken for them."""

from fractions import Fraction

import numpy as np
import pytest

from diffst_cli.pixels import Image
from diffst_cli.reader import Frame
from diffst_cli.shots import WINDOW, CutDetector, split_shots, thumbnail

WIDE = 400  # of the painted scenery, which is panned over


def scenery(seed: int) -> Image:
    """A random picture of soft shapes, (72, 400, 3) uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 11, 3)).astype(np.float64)
    rows, columns = np.linspace(0, 2.999, 72), np.linspace(0, 9.999, WIDE)
    top, left = rows.astype(int), columns.astype(int)
    down, right = (rows - top)[:, None, None], (columns - left)[:, None]
    upper = coarse[top][:, left] * (1 - right) + coarse[top][:, left + 1] * right
    lower = coarse[top + 1][:, left] * (1 - right) + coarse[top + 1][:, left + 1] * right
    picture: Image = (upper * (1 - down) + lower * down).astype(np.uint8)
    return picture


def shot(seed: int, num_frames: int, *, speed: int = 1, noise: int = 4) -> list[Image]:
    """A camera moving `speed` pixels a frame over a scenery, with grain."""
    grain = np.random.default_rng(seed + 1000)
    views = [scenery(seed)[:, i * speed : i * speed + 128] for i in range(num_frames)]
    return [
        np.clip(view + grain.integers(-noise, noise + 1, view.shape), 0, 255).astype(np.uint8)
        for view in views
    ]


def frames_of(images: list[Image]) -> list[Frame]:
    return [
        Frame(image=image, time=Fraction(index, 25), index=index)
        for index, image in enumerate(images)
    ]


def firsts(images: list[Image]) -> list[int]:
    """Indices of the frames found to start a shot."""
    split = list(split_shots(frames_of(images)))
    assert [frame.index for frame, _ in split] == list(range(len(images)))
    return [frame.index for frame, is_first in split if is_first]


def test_hard_cuts_are_found_where_they_are():
    images = shot(1, 20) + shot(2, 11) + shot(3, 5) + shot(4, 20)
    assert firsts(images) == [0, 20, 31, 36]


def test_cuts_between_short_shots_are_found():
    images = [image for seed in range(20, 26) for image in shot(seed, 4)]
    assert firsts(images) == [0, 4, 8, 12, 16, 20]


@pytest.mark.parametrize("num_frames", [1, 2, 3])
def test_a_cut_just_before_the_end_and_just_after_the_start_is_found(num_frames):
    assert firsts(shot(1, 12) + shot(2, num_frames)) == [0, 12]
    assert firsts(shot(1, num_frames) + shot(2, 12)) == [0, num_frames]


def test_a_cut_between_colours_of_equal_brightness_is_found():
    red, green = np.zeros((2, 72, 128, 3), np.uint8)
    red[..., 0] = green[..., 1] = 200
    assert firsts([red] * 12 + [green] * 12) == [0, 12]


@pytest.mark.parametrize("num_frames", [8, 25])
def test_each_slide_of_a_show_is_a_shot(num_frames):
    slides = [image for seed in range(30, 34) for image in shot(seed, 1) * num_frames]
    assert firsts(slides) == [0, num_frames, 2 * num_frames, 3 * num_frames]


def test_a_fast_pan_is_one_shot():
    assert firsts(shot(5, 20, speed=13)) == [0]


def test_a_pan_that_starts_suddenly_is_one_shot():
    still = [scenery(6)[:, :128]] * 10
    assert firsts(still + shot(6, 20, speed=13)) == [0]


@pytest.mark.parametrize("flash_frames", [1, 2, 3])
@pytest.mark.parametrize("brightness", [0, 250])
def test_a_flash_is_no_cut(flash_frames, brightness):
    images = shot(7, 24)
    for index in range(10, 10 + flash_frames):
        images[index] = np.full_like(images[index], brightness)
    assert firsts(images) == [0]


def test_a_cut_that_is_partly_taken_back_after_two_frames_is_one():
    before, new, after = (np.full((72, 128, 3), level, np.uint8) for level in (100, 200, 170))
    assert firsts([before] * 12 + [new] * 2 + [after] * 12)[:2] == [0, 12]


def test_a_picture_that_comes_back_a_little_changed_was_not_cut_away():
    before, flash, after = (np.full((72, 128, 3), level, np.uint8) for level in (100, 200, 120))
    assert firsts([before] * 12 + [flash] * 2 + [after] * 12) == [0]


@pytest.mark.parametrize("repeats", [2, 3])
def test_animation_that_repeats_each_drawing_is_one_shot(repeats):
    drawn = [image for image in shot(8, 10, speed=13, noise=0) for _ in range(repeats)]
    assert firsts(drawn) == [0]
    assert firsts(drawn + shot(9, 12)) == [0, len(drawn)]


@pytest.mark.parametrize("fade_frames", [6, 12, 24])
def test_a_fade_to_black_and_back_is_no_cut(fade_frames):
    light = [1 - index / fade_frames for index in range(fade_frames)]
    levels = [*light, *[0.0] * 6, *reversed(light)]
    scenes = shot(10, fade_frames + 3) + shot(11, fade_frames + 3)
    fading = [(image * level).astype(np.uint8) for image, level in zip(scenes, levels, strict=True)]
    assert firsts(fading) == [0]


def test_a_cut_in_the_dark_is_found():
    assert firsts([image // 4 for image in shot(1, 10) + shot(2, 10)]) == [0, 10]


def test_a_deep_thumbnail_is_that_of_the_shallow_frame():
    images = shot(1, 2)
    for deep, shallow in zip(
        frames_of([image.astype(np.uint16) * 257 for image in images]),
        frames_of(images),
        strict=True,
    ):
        np.testing.assert_allclose(thumbnail(deep), thumbnail(shallow), atol=1)  # rounding


@pytest.mark.parametrize("count", [0, 1, 2, WINDOW + 1])
def test_short_videos_come_out_whole(count):
    assert firsts(shot(1, count)) == [0][:count]


def test_verdicts_come_a_window_late_and_hold_no_more_frames():
    detector = CutDetector()
    settled = [len(detector.add(thumbnail(frame))) for frame in frames_of(shot(1, 20))]
    assert settled == [0] * WINDOW + [1] * (20 - WINDOW)
    assert len(detector.finish()) == WINDOW


@pytest.mark.parametrize("size", [(1, 1), (10, 7), (36, 64), (1080, 1920)])
def test_a_thumbnail_of_any_size_is_the_mean_of_its_parts(size):
    image = np.zeros((*size, 3), np.uint8)
    image[:, (size[1] + 1) // 2 :] = 200
    small = thumbnail(Frame(image=image, time=Fraction(0), index=0))
    assert small.shape == (36, 64, 3)
    assert small[:, 0].max() == 0
    assert small[:, -1].min() == (200 if size[1] > 1 else 0)
