"""The embedded model on everything that a video may show, at every size: the output stays near the input.

What is near: shrunk back to its size, the output is the input, give or take what a model that removes noise may change.
"""

from collections.abc import Callable
from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from diffst import tiling
from diffst.upscaler import UpscaleModel, load_model

HEIGHT, WIDTH = 34, 46
SCALES = ("1", "3/2", "2", "27/10", "3", "4", "8", "1/2")
RATES = ("1", "2", "5/2", "4", "8")
INSTANTS = [(0, 0.0), (0, 0.5), (1, 0.0), (1, 0.25)]
NEAR = 3.0  # codes, on the mean, that a soft picture may change by
OVERSHOOT = 40  # codes beyond the input's range that sharpening may reach


@pytest.fixture(scope="module")
def nano() -> UpscaleModel:
    return load_model("nano", device="cpu", precision="fp32")


def smooth(height: int, width: int, num_frames: int = 3) -> torch.Tensor:
    """Soft shapes that move a pixel a frame, (T, 3, H, W) uint8 between 30 and 220."""
    generator = torch.Generator().manual_seed(5)
    coarse = torch.rand(1, 3, height // 16 + 3, width // 16 + 3, generator=generator)
    grey = coarse.mean(1, keepdim=True)
    coarse = grey + 0.3 * (coarse - grey)  # as little colour as real pictures have
    wide = F.interpolate(coarse, size=(height + 16, width + 16), mode="bicubic").clamp(0, 1)
    frames = [wide[..., 8 : 8 + height, 8 - t : 8 - t + width] for t in range(num_frames)]
    return torch.cat(frames).mul(190).add(30).round().to(torch.uint8)


def flat(*colour: int) -> torch.Tensor:
    return torch.tensor(colour, dtype=torch.uint8).view(1, 3, 1, 1).expand(3, 3, HEIGHT, WIDTH)


def noise(most: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(6)
    return torch.randint(0, most, (3, 3, HEIGHT, WIDTH), generator=generator, dtype=torch.uint8)


def drawn(background: int, text: int) -> torch.Tensor:
    """Letters and a filled shape with hard edges, as in cartoons and screen recordings."""
    picture = np.full((HEIGHT, WIDTH, 3), background, np.uint8)
    cv2.putText(picture, "Ag", (2, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (text,) * 3, 1)
    cv2.rectangle(picture, (30, 6), (44, 30), (200, 40, 60), -1)
    return torch.from_numpy(picture).permute(2, 0, 1).expand(3, -1, -1, -1)


def fade() -> torch.Tensor:
    levels = torch.tensor([1.0, 0.6, 0.2]).view(3, 1, 1, 1)
    return (smooth(HEIGHT, WIDTH, 1) * levels).round().to(torch.uint8)


def flash() -> torch.Tensor:
    shot = smooth(HEIGHT, WIDTH) // 3
    return torch.stack((shot[0], torch.full_like(shot[0], 255), shot[2]))


# What is shown, and how many codes the output shrunk back may be off, on the mean.
PICTURES: dict[str, tuple[Callable[[], torch.Tensor], float]] = {
    "smooth": (lambda: smooth(HEIGHT, WIDTH), NEAR),
    "black": (lambda: flat(0, 0, 0), 0.5),
    "white": (lambda: flat(255, 255, 255), 0.5),
    "grey": (lambda: flat(128, 128, 128), 0.5),
    "red": (lambda: flat(255, 0, 0), 1.5),
    "noise": (lambda: noise(256), 45.0),
    "dark": (lambda: noise(16), 4.0),
    "text on white": (lambda: drawn(255, 0), 6.0),
    "text on black": (lambda: drawn(0, 255), 6.0),
    "fade": (fade, NEAR),
    "flash": (flash, 2 * NEAR),
}


def shrunk(made: torch.Tensor, clip: torch.Tensor) -> torch.Tensor:
    """The output at the input's size, float."""
    size = (clip.shape[-2], clip.shape[-1])
    return F.interpolate(made.float(), size=size, mode="bicubic", antialias=True)


@pytest.mark.parametrize("name", PICTURES)
def test_whatever_is_shown_the_output_stays_near(nano, name):
    make, allowed = PICTURES[name]
    clip = make()
    made = nano(clip, INSTANTS, (4 * HEIGHT, 4 * WIDTH))
    kept = shrunk(made[[0, 2]], clip) - clip[:2].float()
    assert kept.abs().mean() < allowed
    low, high = int(clip.min()) - OVERSHOOT, int(clip.max()) + OVERSHOOT
    assert low <= int(made.min()) <= int(made.max()) <= high


@pytest.mark.parametrize(
    "size", [(1, 1), (3, 2), (2, 3), (5, 7), (17, 15), (16, 16), (33, 47), (2, 300)]
)
def test_any_size_at_any_scale(nano, size):
    clip = smooth(*size)
    for scale in map(Fraction, SCALES):
        out_size = tuple(max(1, round(side * scale)) for side in size)
        made = nano(clip, INSTANTS, out_size)
        assert made.shape == (4, 3, *out_size)
        if scale >= 1:  # else there is less in the output than in the input
            assert (shrunk(made[[0, 2]], clip) - clip[:2].float()).abs().mean() < 6, scale


@pytest.mark.parametrize("rate", RATES)
def test_frames_between_follow_the_motion_at_any_rate(nano, rate):
    clip = smooth(HEIGHT, 64, 4)
    step = 1 / Fraction(rate)
    moments = [k * step for k in range(int(3 / step))]
    instants = [(int(moment), float(moment % 1)) for moment in moments]
    made = shrunk(nano(clip, instants, (2 * HEIGHT, 128)), clip)
    # The shapes move a pixel a frame, so frames differ less the nearer they are in time.
    for (n, alpha), frame in zip(instants, made, strict=True):
        before, after = clip[n].float(), clip[min(n + 1, 3)].float()
        inside = (..., slice(4, -4), slice(4, -4))
        assert (frame - torch.lerp(before, after, alpha))[inside].abs().mean() < NEAR


@pytest.mark.parametrize("num_frames", [1, 2])
def test_the_shortest_clips(nano, num_frames):
    clip = smooth(HEIGHT, WIDTH, num_frames)
    instants = [(0, 0.0), (0, 0.5), (1, 0.0)] if num_frames == 2 else [(0, 0.0)]
    made = nano(clip, instants, (2 * HEIGHT, 2 * WIDTH))
    assert (shrunk(made[[0, -1]], clip) - clip[[0, -1]].float()).abs().mean() < NEAR


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "make", [lambda: drawn(255, 0), lambda: noise(256)[:1].expand(3, -1, -1, -1)]
)
def test_a_static_shot_does_not_flicker_by_a_single_code(precision, make):
    model = load_model("nano", device="cpu", precision=precision)
    made = model(make(), [*INSTANTS, (1, 0.9)], (4 * HEIGHT, 4 * WIDTH))
    assert all(torch.equal(made[0], frame) for frame in made)


def test_a_flash_is_not_smeared_over_its_neighbours(nano):
    clip = flash()
    made = shrunk(nano(clip, [(0, 0.5), (1, 0.0), (1, 0.5)], (2 * HEIGHT, 2 * WIDTH)), clip)
    assert made[1].mean() > 250
    # Half-way frames are of the shot or of the flash or in between, not darker or brighter than both.
    assert (made[[0, 2]] >= clip[0].float().min() - 8).all()


def test_a_picture_in_tiles_does_not_show_where_its_clip_was_cut(nano, monkeypatch):
    monkeypatch.setattr(tiling, "WHOLE_PIXELS", 1)
    monkeypatch.setattr(tiling, "LONGEST_SIDE", 128)
    clip = smooth(100, 180, 7)
    size = (200, 360)
    long = nano(clip, [(3, 0.0), (3, 0.5)], size).float()
    short = nano(clip[1:6], [(2, 0.0), (2, 0.5)], size).float()  # two keyframes beyond, each side
    error = (long - short).square().mean().clamp_min(1e-9)
    assert 10 * torch.log10(255**2 / error) >= 45  # decibels; the guidance saw another clip
