import numpy as np

from diffst.training.motion import Scene, render
from diffst.training.scenes import FASTEST, SMALLEST_ZOOM, draw_scene

NUM_FRAMES = 9


def draw_scenes(count: int) -> list[Scene]:
    photo = np.random.default_rng(1).integers(0, 256, (150, 200, 3), np.uint8)
    rngs = (np.random.default_rng(seed) for seed in range(count))
    return [draw_scene([photo, photo[::-1]], (64, 96), NUM_FRAMES, rng) for rng in rngs]


def test_same_seed_gives_the_same_clip() -> None:
    first, second = (render(draw_scenes(3)[2], 3) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_no_camera_is_faster_or_farther_away_than_allowed() -> None:
    for scene in draw_scenes(100):
        camera = scene.camera
        assert np.hypot(*camera.velocity) <= FASTEST
        times = np.arange(NUM_FRAMES) - (NUM_FRAMES - 1) / 2
        zooms = [np.sqrt(np.linalg.det(camera.matrix(time, (0.0, 0.0))[:, :2])) for time in times]
        assert min(zooms) >= SMALLEST_ZOOM - 1e-6


def test_scenes_vary_in_everything_that_moves() -> None:
    scenes = draw_scenes(100)
    speeds = np.array([np.hypot(*scene.camera.velocity) for scene in scenes])
    assert 5 <= (speeds == 0).sum() <= 30
    assert (speeds > 10).any()
    assert {len(scene.sprites) for scene in scenes} >= {0, 1, 2, 3}
    assert any(scene.ripple for scene in scenes)
    assert any(scene.shutter for scene in scenes)
    assert any(scene.gain_rate for scene in scenes)


def test_bends_never_fold_over() -> None:
    ripples = [scene.ripple for scene in draw_scenes(100) if scene.ripple]
    strongest = [
        abs(ripple.strength(time)) * np.hypot(*ripple.direction) * np.hypot(*ripple.wave)
        for ripple in ripples
        for time in (-NUM_FRAMES / 2, NUM_FRAMES / 2)
    ]
    assert max(strongest) < 1


def test_one_photo_is_enough_and_is_never_shown_smaller_than_the_frame() -> None:
    photo = np.full((40, 50, 3), 9, np.uint8)
    for seed in range(10):
        scene = draw_scene([photo], (64, 96), NUM_FRAMES, np.random.default_rng(seed))
        assert scene.background.shape[0] >= 64
        assert scene.background.shape[1] >= 96
