from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from diffst.training.motion import Ripple, Scene, Sprite, Trajectory, render, render_instant

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (96, 128, 3), np.uint8)
STILL = Trajectory(
    start=(32.0, 24.0),
    velocity=(0.0, 0.0),
    acceleration=(0.0, 0.0),
    shake=0.0,
    shake_rates=(1.0, 1.0, 1.0),
    turn=0.0,
    turn_rate=0.0,
    zoom=1.0,
    zoom_rate=0.0,
)
SCENE = Scene(
    size=(48, 64),
    background=PHOTO,
    camera=STILL,
    ripple=None,
    sprites=(),
    shutter=0.0,
    gain_rate=0.0,
)


def test_still_scene_shows_the_middle_of_the_photo_in_every_frame() -> None:
    clip = render(SCENE, 3)
    assert clip.shape == (3, 48, 64, 3)
    for frame in clip:
        np.testing.assert_array_equal(frame, PHOTO[24:72, 32:96])


def test_whole_pixel_pan_moves_every_frame_by_the_velocity() -> None:
    clip = render(replace(SCENE, camera=replace(STILL, velocity=(3.0, -2.0))), 5)
    for earlier, later in pairwise(clip):
        np.testing.assert_array_equal(later[:-2, 3:], earlier[2:, :-3])


def test_acceleration_zoom_and_turn_follow_their_formulas() -> None:
    path = replace(
        STILL, velocity=(2.0, 0.0), acceleration=(0.5, 0.0), zoom_rate=0.1, turn_rate=0.2
    )
    matrix = path.matrix(4.0, (10.0, 5.0))
    np.testing.assert_allclose(matrix @ [10, 5, 1], [32 + 8 + 4, 24])
    assert np.sqrt(np.linalg.det(matrix[:, :2])) == pytest.approx(np.exp(0.4))
    assert np.arctan2(matrix[1, 0], matrix[0, 0]) == pytest.approx(0.8)


def test_sprite_covers_the_background_where_it_has_come() -> None:
    image = np.full((9, 9, 4), 255, np.uint8)
    path = replace(STILL, start=(20.5, 30.5), velocity=(10.0, 0.0))
    scene = replace(SCENE, sprites=(Sprite(image=image, path=path),))
    frame = render_instant(scene, 2.0)
    np.testing.assert_array_equal(frame[27:34, 37:44], 255)
    np.testing.assert_array_equal(frame[:, :30], PHOTO[24:72, 32:62])


def test_sprite_outside_the_frame_changes_nothing() -> None:
    image = np.full((9, 9, 4), 255, np.uint8)
    scene = replace(
        SCENE, sprites=(Sprite(image=image, path=replace(STILL, start=(500.0, -80.0))),)
    )
    np.testing.assert_array_equal(render_instant(scene, 0.0), PHOTO[24:72, 32:96])


def test_open_shutter_blurs_along_the_motion_only() -> None:
    stripes = np.zeros((96, 128, 3), np.uint8)
    stripes[::2] = 200
    still = replace(SCENE, background=stripes, shutter=0.5)
    np.testing.assert_array_equal(render_instant(still, 0.0), stripes[24:72, 32:96])
    across = replace(still, camera=replace(STILL, velocity=(8.0, 0.0)))
    np.testing.assert_allclose(render_instant(across, 0.0), stripes[24:72, 32:96], atol=1)
    along = render_instant(replace(still, camera=replace(STILL, velocity=(0.0, 8.0))), 0.0)
    assert along[4:-4].std() < 40 < stripes.std()


def test_fade_changes_the_light_in_proportion_to_time() -> None:
    grey = replace(SCENE, background=np.full((96, 128, 3), 100, np.uint8), gain_rate=0.1)
    levels = [int(frame.mean()) for frame in render(grey, 5)]
    assert levels == [80, 90, 100, 110, 120]


def test_ripple_bends_the_view_and_its_parallax_grows_with_time() -> None:
    ripple = Ripple(wave=(0.0, 0.05), direction=(6.0, 0.0), drift=0.5, swing_rate=0.3)
    assert [ripple.strength(time) for time in (-2.0, 0.0, 1.0)] == [-1.0, 0.0, 0.5]
    assert replace(ripple, drift=0.0).strength(1.0) == pytest.approx(np.sin(0.3))
    clip = render(replace(SCENE, ripple=ripple), 3)
    np.testing.assert_array_equal(clip[1], PHOTO[24:72, 32:96])
    assert not np.array_equal(clip[0], clip[1])
