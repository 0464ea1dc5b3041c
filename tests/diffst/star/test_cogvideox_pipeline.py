"""A clip through the CogVideoX-based STAR at toy size."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from diffst.star.cogvideox_pipeline import (
    CogVideoXSettings,
    StarCogVideoXPipeline,
    latent_places,
    num_latents,
)
from diffst.star.cogvideox_sampler import make_schedule
from diffst.star.noise import clip_noise
from tests.diffst.star.tiny_cogvideox import tiny_pipeline
from tests.diffst.test_cfca import smooth_clip

FEW = CogVideoXSettings(num_steps=2)


def make(pipeline, frames, size=(96, 96), *, text=None, settings=FEW, **options):
    """A clip with two steps, its frames at the video's first keyframes."""
    positions = [(n, 0.0) for n in range(len(frames))]
    return pipeline(frames, size, text, settings, positions=positions, **options)


def clip(num_frames: int, height: int = 24, width: int = 32) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.rand(num_frames, 3, height, width)


@pytest.fixture(scope="module")
def pipeline() -> StarCogVideoXPipeline:
    return tiny_pipeline()


@pytest.mark.parametrize(("frames", "latents"), [(1, 1), (2, 3), (9, 3), (10, 5), (25, 7)])
def test_clips_are_filled_up_to_what_the_vae_gives_back(pipeline, frames, latents):
    assert num_latents(frames) == latents
    assert len(pipeline.fill(torch.zeros(frames, 3, 8, 8))) == 4 * latents - 3


def test_a_latent_has_the_place_of_the_first_frame_it_stands_for():
    positions = [(n, alpha) for n in range(3, 9) for alpha in (0.0, 0.5)]
    assert latent_places(positions[:9]) == [(3, 0.0), (3, 0.5), (5, 0.5)]
    assert latent_places(positions[:2]) == [(3, 0.0), (3, 0.5), (7, 0.5)]
    assert latent_places(positions[:1]) == [(3, 0.0)]


@pytest.mark.parametrize(
    ("frames", "size", "kind"), [(1, (60, 77), torch.uint8), (3, (96, 100), torch.uint16)]
)
def test_a_clip_comes_out_with_its_frames_at_the_size_asked_for(pipeline, frames, size, kind):
    stages: list[str] = []
    made = make(
        pipeline,
        clip(frames),
        size,
        output_type=kind,
        on_stage=lambda name, _: stages.append(name),
    )
    assert made.shape == (frames, 3, *size)
    assert made.dtype == kind
    assert stages == ["encode", "denoise", "decode"]


def leave_colours(monkeypatch):
    """Pictures come out as they were made."""
    monkeypatch.setattr(
        "diffst.star.cogvideox_pipeline.match_statistics", lambda pictures, _: pictures
    )


def test_colours_are_those_of_the_input(pipeline, monkeypatch):
    frames = clip(2) / 4
    made = make(pipeline, frames)
    leave_colours(monkeypatch)
    plain = make(pipeline, frames)
    wanted = frames.mean((-2, -1))
    assert (
        (made.mean((-2, -1)) - wanted).abs().max()
        < 0.02
        < (plain.mean((-2, -1)) - wanted).abs().max()
    )


def test_the_same_seed_gives_the_same_clip_and_another_another(pipeline):
    frames = clip(2)
    first, again, other = (
        make(pipeline, frames, settings=dataclasses.replace(FEW, seed=seed)) for seed in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert (first - other).abs().max() > 1e-3


def test_a_prompt_counts(pipeline):
    frames = clip(1)
    words = torch.randn(1, 3, 12)
    assert not torch.equal(make(pipeline, frames, text=words), make(pipeline, frames))


def test_frames_filled_up_do_not_show(pipeline):
    frames = clip(3)
    filled = torch.cat((frames, *[frames[-1:]] * 6))
    torch.testing.assert_close(make(pipeline, frames), make(pipeline, filled)[:3])


def test_a_large_picture_is_denoised_in_tiles_that_fade(pipeline, monkeypatch):
    poor = torch.randn(1, 4, 1, 24, 48)
    windows = [side.windows for side in pipeline.pieces(poor)]
    assert windows == [[(0, 1)], [(0, 24)], [(0, 24), (12, 36), (24, 48)]]
    seen: list[tuple[int, ...]] = []
    predict = pipeline.transformer.predict

    def watched(latents, *rest):
        seen.append(tuple(latents.shape))
        return predict(latents, *rest)

    monkeypatch.setattr(pipeline.transformer, "predict", watched)
    clean = pipeline.denoise(poor, None, [(0, 0.0)], FEW)
    assert clean.shape == poor.shape
    assert seen == [(1, 1, 4, 24, 24)] * 3 * 2


def test_latents_are_drawn_scaled_and_scaled_back(pipeline):
    torch.manual_seed(2)
    frames = torch.rand(9, 3, 96, 96) * 2 - 1
    places = [(0, 0.0), (1, 0.0), (5, 0.0)]
    drawn = clip_noise(FEW.seed, places, "encode", (4, 24, 24))
    latents = pipeline.encode(frames, drawn)
    said = pipeline.vae.encode(frames.permute(1, 0, 2, 3)[None]).latent_dist
    torch.testing.assert_close(latents, (said.mean + said.std * drawn) * 0.7)
    expected = pipeline.vae.decode(latents / 0.7).sample[0].transpose(0, 1)
    torch.testing.assert_close(pipeline.decode(latents), expected)
    assert expected.shape == frames.shape


class PlainDecoder(torch.nn.Module):
    """Repeats each latent of three channels over its pixels; one frame in, one out."""

    def forward(self, latents, conv_cache=None):
        large = latents[:, :3].repeat_interleave(4, -1).repeat_interleave(4, -2)
        return large, conv_cache


@pytest.mark.parametrize("side", [None, 64, 48, 40])
def test_tiles_of_the_vae_are_put_together_without_a_shift(side, monkeypatch):
    pipeline = tiny_pipeline()
    monkeypatch.setattr(pipeline.vae, "decoder", PlainDecoder())
    pipeline.set_vae_tile(side)
    latents = torch.randn(1, 4, 1, 30, 42)
    expected = latents[0, :3].transpose(0, 1).repeat_interleave(4, -1).repeat_interleave(4, -2)
    torch.testing.assert_close(pipeline.decode(0.7 * latents), expected)


class MeanVae(torch.nn.Module):
    """Stands in for the VAE: a latent is the mean of 4 x 4 pixels of its last frame, and back by repeating."""

    dtype = torch.float32
    config = SimpleNamespace(scaling_factor=0.5, latent_channels=4)

    def encode(self, clip):
        kept = clip[:, :, [0, *range(4, clip.shape[2], 4)]]
        small = F.avg_pool3d(kept, (1, 4, 4))
        mean = torch.cat((small, torch.zeros_like(small[:, :1])), dim=1)
        return SimpleNamespace(latent_dist=SimpleNamespace(mean=mean, std=torch.zeros_like(mean)))

    def decode(self, latents):
        large = latents[:, :3].repeat_interleave(4, -1).repeat_interleave(4, -2)
        frames = [0] + [latent for latent in range(1, latents.shape[2]) for _ in range(4)]
        return SimpleNamespace(sample=large[:, :, frames])


def test_what_the_network_knows_of_the_poor_clip_comes_out_in_its_place(monkeypatch):
    pipeline = tiny_pipeline()
    monkeypatch.setattr(pipeline, "vae", MeanVae())
    schedule = make_schedule(FEW.num_steps)
    signals = dict(zip(schedule.timesteps, schedule.network_alphas, strict=True))

    def knows_the_clip(noisy, poor, _text, timestep):
        signal = signals[timestep]
        return (signal * noisy - poor) / (1 - signal**2) ** 0.5

    monkeypatch.setattr(pipeline.transformer, "predict", knows_the_clip)
    frames = smooth_clip(9)
    size = (3 * frames.shape[-2], 2 * frames.shape[-1])  # more than a tile both ways
    assert min(size) > 96
    leave_colours(monkeypatch)
    made = make(pipeline, frames, size)
    large = F.interpolate(frames, size=size, mode="bicubic").clamp(0, 1)
    seen = F.avg_pool2d(large, 4).repeat_interleave(4, -1).repeat_interleave(4, -2)
    for frame, shown in enumerate([0, 4, 4, 4, 4, 8, 8, 8, 8]):
        torch.testing.assert_close(made[frame], seen[shown], rtol=0, atol=1e-4)


def test_a_clip_that_is_too_long_is_refused(pipeline):
    with pytest.raises(ValueError, match="a clip of 26 frames; 1 to 25"):
        make(pipeline, clip(26))


def test_positions_that_are_too_few_are_refused(pipeline):
    with pytest.raises(ValueError, match="1 positions for 2 frames"):
        pipeline(clip(2), (96, 96), None, FEW, positions=[(0, 0.0)])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_steps": 0}, "0 steps; this STAR takes 1 to 1000"),
        ({"num_steps": 1001}, "1001 steps"),
        ({"guidance": -1.0}, "guidance -1; this STAR takes 0 to 100"),
        ({"guidance": float("nan")}, "guidance nan"),
    ],
)
def test_settings_out_of_range_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        CogVideoXSettings(**values)
