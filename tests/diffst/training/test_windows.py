from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffst.flow import warp
from diffst.training.windows import (
    LEAST_CONTRAST,
    Window,
    flip_horizontal,
    flip_vertical,
    lower_contrast,
    reverse_time,
    stack_windows,
    transpose,
)

SPATIAL: list[tuple[Callable[[Window], Window], Callable[[np.ndarray], np.ndarray]]] = [
    (flip_horizontal, lambda images: images[..., :, ::-1, :]),
    (flip_vertical, lambda images: images[..., ::-1, :, :]),
    (transpose, lambda images: images.swapaxes(-3, -2)),
]


def random_window(seed: int, *, num_keyframes: int = 6, size: tuple[int, int] = (9, 12)) -> Window:
    rng = np.random.default_rng(seed)
    height, width = size
    num_targets = 2 * num_keyframes - 9
    return Window(
        keyframes=rng.integers(0, 256, (num_keyframes, height, width, 3), np.uint8),
        flows=rng.integers(-4, 5, (num_keyframes - 1, 2, height, width, 2)).astype(np.float32),
        targets=rng.integers(0, 256, (num_targets, 4 * height, 4 * width, 3), np.uint8),
        interpolate=bool(rng.integers(2)),
    )


def look_up(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Each pixel's colour at the end of its whole-pixel flow, the border repeated."""
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width]
    y = np.clip(y + flow[..., 1], 0, height - 1).astype(int)
    x = np.clip(x + flow[..., 0], 0, width - 1).astype(int)
    found: np.ndarray = image[y, x]
    return found


def warp_neighbours(window: Window) -> np.ndarray:
    """(K - 1, 2, h, w, 3): [k, 0] is keyframe k + 1 brought to k, [k, 1] keyframe k brought to k + 1."""
    pairs = range(len(window.flows))
    return np.stack(
        [
            [look_up(window.keyframes[k + 1 - way], window.flows[k, way]) for way in (0, 1)]
            for k in pairs
        ]
    )


@pytest.mark.parametrize(("augment", "turn_images"), SPATIAL)
@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_turning_then_warping_is_warping_then_turning(
    augment: Callable[[Window], Window], turn_images: Callable[[np.ndarray], np.ndarray], seed: int
) -> None:
    window = random_window(seed)
    turned = augment(window)
    np.testing.assert_array_equal(warp_neighbours(turned), turn_images(warp_neighbours(window)))
    np.testing.assert_array_equal(turned.keyframes, turn_images(window.keyframes))
    np.testing.assert_array_equal(turned.targets, turn_images(window.targets))
    assert turned.interpolate == window.interpolate


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_reversing_time_exchanges_the_two_ways_of_every_flow(seed: int) -> None:
    window = random_window(seed)
    turned = reverse_time(window)
    np.testing.assert_array_equal(warp_neighbours(turned), warp_neighbours(window)[::-1, ::-1])
    np.testing.assert_array_equal(turned.keyframes, window.keyframes[::-1])
    np.testing.assert_array_equal(turned.targets, window.targets[::-1])


@pytest.mark.parametrize("augment", [flip_horizontal, flip_vertical, transpose, reverse_time])
def test_turning_twice_gives_the_window_back(augment: Callable[[Window], Window]) -> None:
    window = random_window(3)
    again = augment(augment(window))
    np.testing.assert_array_equal(again.keyframes, window.keyframes)
    np.testing.assert_array_equal(again.flows, window.flows)
    np.testing.assert_array_equal(again.targets, window.targets)


def test_stacked_flows_warp_stacked_keyframes_as_the_library_does() -> None:
    windows = [random_window(seed) for seed in (1, 2)]
    batch = stack_windows(windows)
    assert batch.keyframes.shape == (2, 6, 3, 9, 12)
    assert batch.flows.shape == (2, 5, 2, 2, 9, 12)
    assert batch.targets.shape == (2, 3, 3, 36, 48)
    assert batch.interpolate.tolist() == [window.interpolate for window in windows]
    assert (batch.keyframes.dtype, batch.flows.dtype) == (torch.uint8, torch.float32)
    brought = warp(batch.keyframes[:, 3].float(), batch.flows[:, 2, 0])
    expected = [warp_neighbours(window)[2, 0] for window in windows]
    # Bilinear at whole pixels, in float32.
    np.testing.assert_allclose(brought.permute(0, 2, 3, 1).numpy(), np.stack(expected), atol=0.01)


@pytest.mark.parametrize("seed", range(5))
def test_lower_contrast_keeps_pictures_in_proportion_and_motion_as_it_was(seed: int) -> None:
    window = random_window(seed)
    faded = lower_contrast(window, np.random.default_rng(seed))
    before = np.concatenate((window.keyframes.ravel(), window.targets.ravel())).astype(float)
    after = np.concatenate((faded.keyframes.ravel(), faded.targets.ravel())).astype(float)
    contrast, level = np.polyfit(before, after, 1)
    assert LEAST_CONTRAST * 0.9 < contrast <= 1.01
    assert np.abs(after - (level + contrast * before)).max() < 0.6, "rounded, and nothing else"
    assert faded.flows is window.flows


def test_lower_contrast_is_drawn_over_its_whole_range() -> None:
    window = random_window(0)
    spans = [
        np.ptp(lower_contrast(window, np.random.default_rng(seed)).targets) for seed in range(60)
    ]
    assert min(spans) < 0.12 * 255 < 0.8 * 255 < max(spans)
