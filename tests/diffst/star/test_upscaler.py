"""STAR as the tool gets it."""

import pytest
import torch

from diffst.limits import LimitedModel, Limits
from diffst.star.settings import StarSettings
from diffst.star.upscaler import load_star
from diffst.star.vae import decoding_type
from diffst.upscaler import load_model
from tests.diffst.star.random_star import save_random

FEW = StarSettings(num_steps=1, guidance=1, window_frames=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("star tiny")
    save_random(folder)
    return folder


def keyframes(num_frames):
    rows = torch.arange(16).view(16, 1) * 4
    columns = torch.arange(20) * 5
    clip = torch.stack([(rows + columns + 6 * n) % 256 for n in range(num_frames)])
    return clip[:, None].expand(-1, 3, -1, -1).to(torch.uint8)


def test_a_folder_is_a_model_of_the_tool(folder):
    model = load_model(str(folder), device="cpu", precision="fp32")
    assert model.name == folder.name
    assert model.rules.clip_keyframes == 32
    assert 0 < model.rules.overlap_keyframes < 16


def test_new_frames_come_from_cfca_before_they_are_enlarged(folder, monkeypatch):
    model = load_star(folder, device="cpu", precision="fp32", settings=FEW)
    seen = []
    original = model.pipeline.encode

    def encode(frames, *rest):
        seen.append(frames)
        return original(frames, *rest)

    monkeypatch.setattr(model.pipeline, "encode", encode)
    clip = keyframes(3)
    stages = []
    made = model(
        clip,
        [(0, 0.0), (0, 0.5), (1, 0.0)],
        (32, 40),
        lambda name, _seconds: stages.append(name),
    )
    assert made.shape == (3, 3, 32, 40)
    assert made.dtype == torch.uint8
    assert stages[0] == "cfca"
    assert torch.equal(seen[0][0], clip[0] / 255)
    between = seen[0][1]
    with torch.no_grad():
        expected = model.cfca(*_flows(clip), [(0, 0.5)])[0]
    assert torch.equal(between, expected)


def _flows(clip):
    from diffst.flow import neighbour_flows

    given = clip.float() / 255
    return given, neighbour_flows(given)


@pytest.mark.parametrize(
    ("precision", "device", "decoder"),
    [
        ("float32", "cuda", "float32"),
        ("float16", "cuda", "float16"),
        ("bfloat16", "cuda", "float16"),
        ("float16", "cpu", "float16"),
        ("bfloat16", "cpu", "float32"),
    ],
)
def test_the_decoder_never_computes_in_bfloat16(precision, device, decoder):
    chosen = decoding_type(getattr(torch, precision), torch.device(device))
    assert chosen == getattr(torch, decoder)


@pytest.mark.parametrize("precision", ["bf16", pytest.param("fp16", marks=pytest.mark.slow)])
def test_short_precision_stays_near(folder, precision):
    exact, short = (
        load_star(folder, device="cpu", precision=chosen, settings=FEW)(
            keyframes(2), [(0, 0.0)], (32, 40)
        ).float()
        for chosen in ("fp32", precision)
    )
    assert (exact - short).abs().mean() < 3


def test_limits_reach_the_network_and_the_vae(folder):
    model = load_star(folder, device="cpu", precision="fp32", settings=FEW)
    assert isinstance(model, LimitedModel)
    whole = model(keyframes(3), [(n, 0.0) for n in range(3)], (32, 40))
    model.keep_within(Limits(tile=512, latents_per_call=2, window_frames=2, offload=True))
    assert model.settings.tile_latents == (64, 64)
    assert model.settings.vae_tile_latents == 64
    assert (model.settings.window_frames, model.settings.decode_frames) == (2, 2)
    assert not model.offload.active  # there is nowhere to move parts from
    shorter = model(keyframes(3), [(n, 0.0) for n in range(3)], (32, 40))
    assert not torch.equal(whole, shorter)
    model.keep_within(Limits(latents_per_call=3))
    assert torch.equal(model(keyframes(3), [(n, 0.0) for n in range(3)], (32, 40)), whole)


def test_another_prompt_needs_the_text_encoder(folder):
    with pytest.raises(ValueError, match="has no `text_encoder`, so it cannot take this prompt"):
        load_star(folder, device="cpu", prompt="a cat")
