"""The whole way of a clip, at a tiny size, with random weights."""

import itertools

import pytest
import torch

from diffst.star.noise import clip_noise
from diffst.star.settings import StarSettings
from diffst.star.vae import decode, encode
from tests.diffst.star.random_star import build_random
from tests.diffst.star.toys import Averages, BlindToTime, Knowing

SIZE = (56, 60)
FEW = StarSettings(num_steps=2, window_frames=4)


@pytest.fixture(scope="module")
def pipeline():
    return build_random()


@pytest.fixture(scope="module")
def text():
    return torch.randn(2, 7, 24, generator=torch.Generator().manual_seed(1))


def clip(num_frames):
    generator = torch.Generator().manual_seed(2)
    return torch.rand(num_frames, 3, 14, 15, generator=generator)


def test_a_clip_comes_out_at_the_size_and_type_asked_for(pipeline, text):
    stages = set()
    made = pipeline(
        clip(5),
        SIZE,
        text,
        FEW,
        output_type=torch.uint16,
        on_stage=lambda name, _seconds: stages.add(name),
    )
    assert made.shape == (5, 3, *SIZE)
    assert made.dtype == torch.uint16
    assert stages == {"encode", "denoise", "decode"}


def test_the_same_seed_gives_the_same_frames_and_another_does_not(pipeline, text):
    first, again = (pipeline(clip(2), SIZE, text, FEW) for _ in range(2))
    assert torch.equal(first, again)
    other = pipeline(clip(2), SIZE, text, StarSettings(num_steps=2, window_frames=4, seed=1))
    assert (first - other).abs().max() > 1e-3


def test_colours_are_those_of_the_input(pipeline, text):
    frames = clip(2) * 0.3 + 0.2
    made = pipeline(frames, SIZE, text, FEW)
    torch.testing.assert_close(made.mean((2, 3)), frames.mean((2, 3)), rtol=0, atol=0.02)


def test_guidance_of_one_does_not_look_at_the_negative_prompt(pipeline, text):
    settings = StarSettings(num_steps=1, guidance=1)
    made = pipeline(clip(1), SIZE, text, settings)
    other = pipeline(clip(1), SIZE, torch.stack((text[0], text[1] + 1)), settings)
    assert torch.equal(made, other)


def test_a_frames_noise_does_not_depend_on_its_clip():
    places = [(n, alpha) for n in range(6) for alpha in (0.0, 0.5)]
    long = clip_noise(7, places, "start", (4, 5, 6))
    short = clip_noise(7, places[5:9], "start", (4, 5, 6))
    assert torch.equal(long[:, :, 5:9], short)
    assert long.std() == pytest.approx(1, abs=0.05)
    assert len({float(frame.sum()) for frame in long.unbind(2)}) == 12


def test_frames_do_not_depend_on_where_the_video_was_cut(pipeline, text, monkeypatch):
    monkeypatch.setattr(pipeline, "unet", BlindToTime())
    settings = StarSettings(num_steps=3, decode_frames=1)
    frames = clip(4)
    places = [(n, 0.0) for n in range(10, 14)]
    whole = pipeline(frames, SIZE, text, settings, positions=places)
    part = pipeline(frames[1:3], SIZE, text, settings, positions=places[1:3])
    torch.testing.assert_close(part, whole[1:3], rtol=0, atol=1e-5)


@pytest.mark.parametrize("windows", ["fade", "cut"])
def test_windows_and_tiles_of_everything_agree_with_the_whole(pipeline, text, monkeypatch, windows):
    monkeypatch.setattr(pipeline, "unet", BlindToTime())
    latent = torch.randn(1, 4, 9, 26, 24, generator=torch.Generator().manual_seed(3))
    places = [(n, 0.0) for n in range(9)]
    whole = pipeline.sample(latent, text, places, StarSettings(guidance=1))
    settings = StarSettings(guidance=1, window_frames=4, windows=windows, tile_latents=(18, 24))
    pieces = pipeline.sample(latent, text, places, settings)
    torch.testing.assert_close(pieces, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("windows", "levels"),
    [
        ("cut", [0, 0, 0, 1, 1, 2, 2, 2]),
        ("fade", [0, 0, 0.146, 0.854, 1.146, 1.854, 2, 2]),
    ],
)
def test_windows_are_cut_or_fade(pipeline, text, monkeypatch, windows, levels):
    numbers = itertools.count()

    class Numbering(BlindToTime):
        def forward(self, noisy, timesteps, text, hint):
            return torch.full_like(noisy, float(next(numbers)))

    monkeypatch.setattr(pipeline, "unet", Numbering())
    settings = StarSettings(num_steps=1, guidance=1, window_frames=4, windows=windows)
    places = [(n, 0.0) for n in range(8)]
    # Three windows, of frames 0 to 3, 2 to 5 and 4 to 7; each says its number.
    latent = torch.zeros(1, 4, 8, 10, 8)
    monkeypatch.setattr("diffst.star.pipeline.picture_of", lambda _noisy, said, _step: said)
    made = pipeline.sample(latent, text, places, settings)
    frames = [round(float(frame.mean()), 3) for frame in made[0].unbind(1)]
    assert frames == levels


def test_the_network_sees_no_more_than_a_window_and_a_tile(pipeline, text, monkeypatch):
    seen = set()

    class Watching(BlindToTime):
        def forward(self, noisy, timesteps, text, hint):
            seen.add(tuple(noisy.shape[2:]))
            return super().forward(noisy, timesteps, text, hint)

    monkeypatch.setattr(pipeline, "unet", Watching())
    settings = StarSettings(num_steps=1, window_frames=4, tile_latents=(18, 24))
    latent = torch.zeros(1, 4, 8, 26, 40)
    pipeline.sample(latent, text, [(n, 0.0) for n in range(8)], settings)
    assert seen == {(4, 18, 24)}


def test_tiles_of_the_vae_are_near_the_whole(pipeline):
    generator = torch.Generator().manual_seed(4)
    latents = torch.randn(2, 4, 26, 24, generator=generator) * 0.2
    picture = torch.rand(1, 3, 208, 192, generator=generator) * 2 - 1
    noise = torch.randn(1, 4, 26, 24, generator=generator)
    sizes = []
    original = pipeline.vae.decoder.forward

    def forward(sample, **options):
        sizes.append(tuple(sample.shape[-2:]))
        return original(sample, **options)

    with torch.inference_mode(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.vae.decoder, "forward", forward)
        whole, tiled = (decode(pipeline.vae, latents, most) for most in (26, 24))
        whole_latent, tiled_latent = (
            encode(pipeline.vae, picture, noise, most) for most in (26, 24)
        )
    assert sizes == [(26, 24), (24, 24), (24, 24)]
    assert whole.shape == tiled.shape == (2, 3, 208, 192)
    # Norms and the attention in the middle see a tile only, so nearness is all there is.
    assert 0 < (tiled - whole).abs().mean() < 0.1 * whole.std()
    assert 0 < (tiled_latent - whole_latent).abs().mean() < 0.1 * whole_latent.std()


@pytest.mark.parametrize("size", [(80, 64), (64, 48), (136, 112)])
@pytest.mark.parametrize("tiled", [False, True])
def test_a_network_that_knows_gives_every_pixel_back_in_its_place(
    pipeline, text, monkeypatch, size, tiled
):
    monkeypatch.setattr(pipeline, "unet", Knowing())
    monkeypatch.setattr(pipeline, "vae", Averages())
    monkeypatch.setattr("diffst.star.pipeline.match_statistics", lambda pictures, _: pictures)
    # Colours that differ from frame to frame and from place to place, constant where a latent looks.
    generator = torch.Generator().manual_seed(5)
    colours = torch.rand(5, 3, size[0] // 8, size[1] // 8, generator=generator)
    frames = colours.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
    settings = StarSettings(
        window_frames=2,
        tile_latents=(18, 24) if tiled else None,
        vae_tile_latents=24 if tiled else None,
    )
    made = pipeline(frames, size, text, settings)
    torch.testing.assert_close(made, frames, rtol=0, atol=1e-4)


def test_positions_and_frames_must_agree(pipeline, text):
    with pytest.raises(ValueError, match="1 positions for 2 frames"):
        pipeline(clip(2), SIZE, text, FEW, positions=[(0, 0.0)])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"num_steps": 0}, "0 steps; STAR takes 1 to 899"),
        ({"guidance": -0.5}, "guidance -0.5; STAR takes 0 to 100"),
        ({"window_frames": 0}, "at least 1 frame"),
        ({"windows": "blend"}, "windows `blend`; STAR takes fade or cut"),
    ],
)
def test_settings_out_of_range_are_refused(value, message):
    with pytest.raises(ValueError, match=message):
        StarSettings(**value)
