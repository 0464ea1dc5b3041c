from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from diffst.training.degradation import (
    Degradation,
    blur_kernel,
    degrade_space,
    draw_degradation,
    shrink_weights,
    to_uint8,
)

UNTOUCHED = Degradation(
    track="old",
    kernel="bicubic",
    blur_sigmas=(0.0, 0.0),
    blur_angle=0.0,
    noise_sigma=0.0,
    poisson_gain=0.0,
    chroma_share=0.0,
    noise_seed=1,
    codecs=(),
)


@pytest.mark.parametrize("kernel", ["bicubic", "bicubic_sharp", "lanczos", "area"])
def test_shrinking_keeps_flat_frames_and_the_place_of_a_ramp(kernel: str) -> None:
    weights = shrink_weights(64, kernel)  # type: ignore[arg-type]
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    small = weights @ np.arange(64, dtype=np.float32)
    middle = np.arange(16) * 4 + 1.5
    np.testing.assert_allclose(small[3:-3], middle[3:-3], atol=1e-4)


def test_bicubic_shrinking_is_the_antialiased_bicubic_of_torch() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3), np.uint8)
    ours = degrade_space(frames, UNTOUCHED)[0]
    tensor = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    theirs = F.interpolate(tensor, size=(16, 24), mode="bicubic", antialias=True)
    inner = theirs[0].permute(1, 2, 0).numpy()[2:-2, 2:-2]  # torch treats the border otherwise
    # Half a code value is the rounding.
    np.testing.assert_allclose(ours[2:-2, 2:-2], np.clip(inner, 0, 255), atol=0.5 + 1e-3)


def test_size_not_divisible_by_four_is_an_error() -> None:
    with pytest.raises(ValueError, match="cannot shrink 30x32 by 4"):
        degrade_space(np.zeros((1, 30, 32, 3), np.uint8), UNTOUCHED)


def test_blur_kernel_has_the_asked_widths_along_its_turned_axes() -> None:
    assert blur_kernel(UNTOUCHED) is None
    kernel = blur_kernel(replace(UNTOUCHED, blur_sigmas=(1.0, 0.5), blur_angle=np.pi / 2))
    assert kernel is not None
    radius = len(kernel) // 2
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    # Turned by a quarter, the first axis is vertical; the cut tail takes a few per cent of the variance.
    assert np.sqrt((kernel * y**2).sum()) == pytest.approx(4.0, rel=0.06)
    assert np.sqrt((kernel * x**2).sum()) == pytest.approx(2.0, rel=0.06)


def test_grey_noise_has_its_strength_and_is_the_same_in_all_channels() -> None:
    grey = np.full((2, 128, 128, 3), 128, np.uint8)
    noisy = degrade_space(grey, replace(UNTOUCHED, noise_sigma=8.0)).astype(float) - 128
    np.testing.assert_array_equal(noisy[..., 0], noisy[..., 2])
    assert noisy.std() == pytest.approx(8.0, rel=0.1)
    assert not np.array_equal(noisy[0], noisy[1])


def test_chroma_noise_differs_between_the_channels() -> None:
    grey = np.full((1, 256, 256, 3), 128, np.uint8)
    noisy = (
        degrade_space(grey, replace(UNTOUCHED, noise_sigma=8.0, chroma_share=1.0)).astype(float)
        - 128
    )
    correlation = np.corrcoef(noisy[0, ..., 0].ravel(), noisy[0, ..., 2].ravel())[0, 1]
    assert abs(correlation) < 0.1
    assert noisy.std() == pytest.approx(8.0, rel=0.1)


def test_noise_that_is_partly_chroma_keeps_its_strength() -> None:
    grey = np.full((1, 512, 512, 3), 128, np.uint8)
    half = replace(UNTOUCHED, noise_sigma=8.0, chroma_share=0.5)
    noisy = degrade_space(grey, half).astype(float) - 128
    assert noisy.std() == pytest.approx(8.0, rel=0.05)
    correlation = np.corrcoef(noisy[0, ..., 0].ravel(), noisy[0, ..., 2].ravel())[0, 1]
    assert correlation == pytest.approx(0.5, abs=0.05)


def test_poisson_noise_grows_with_the_light() -> None:
    frames = np.repeat(np.array([16, 144], np.uint8), 128)[None, :, None, None]
    frames = np.broadcast_to(frames, (1, 256, 256, 3))
    noisy = degrade_space(np.ascontiguousarray(frames), replace(UNTOUCHED, poisson_gain=0.25))[0]
    dark, light = noisy[2:30], noisy[34:62]
    assert dark.std() == pytest.approx(2.0, rel=0.1)
    assert light.std() == pytest.approx(6.0, rel=0.1)


def test_same_parameters_give_the_same_frames() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    settings = draw_degradation("old", np.random.default_rng(5))
    np.testing.assert_array_equal(degrade_space(frames, settings), degrade_space(frames, settings))
    assert settings == draw_degradation("old", np.random.default_rng(5))


def test_only_the_old_track_blurs_and_adds_noise() -> None:
    for seed in range(50):
        rng = np.random.default_rng(seed)
        for track in ("clean", "web"):
            drawn = draw_degradation(track, rng)
            assert drawn.blur_sigmas == (0, 0)
            assert drawn.noise_sigma == drawn.poisson_gain == 0
        old = draw_degradation("old", rng)
        assert 0.3 <= old.blur_sigmas[0] <= 1.5
        assert (old.noise_sigma > 0) != (old.poisson_gain > 0)
        assert 1 <= len(old.codecs) <= 2


def test_half_of_the_old_videos_are_near_the_one_that_quality_is_measured_on() -> None:
    rng = np.random.default_rng(3)
    drawn = [draw_degradation("old", rng) for _ in range(200)]
    near = [
        old
        for old in drawn
        if 0.4 <= old.blur_sigmas[0] <= 0.65
        and 3 <= old.noise_sigma <= 6
        and old.codecs[0].encoder == "libx264"
        and 28 <= float(old.codecs[0].arguments[1]) <= 32
    ]
    assert 80 <= len(near) <= 130


def test_all_code_values_survive_rounding() -> None:
    levels = np.arange(256, dtype=np.float32)
    np.testing.assert_array_equal(to_uint8(levels + 0.4), levels)
    np.testing.assert_array_equal(to_uint8(levels - 0.4), levels)
    np.testing.assert_array_equal(to_uint8(np.array([-9, 300], np.float32)), [0, 255])
