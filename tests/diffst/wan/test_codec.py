"""What WanCodec adds to the VAE: normalisation, range, sizes, lengths."""

import inspect

import pytest
import torch
import torch.nn.functional as F

from diffst.codec import NanoCodec, resize
from diffst.pixels import to_integer
from diffst.wan import build_random
from diffst.wan.codec import WanCodec

MEAN = (-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508)
STD = (2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743)


@pytest.fixture(scope="module")
def codec() -> WanCodec:
    return build_random("tiny", dtype=torch.float32).codec


def clip(num_frames: int) -> torch.Tensor:
    return torch.rand(num_frames, 3, 9, 13, generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
def test_latents_are_the_vaes_normalised(codec):
    encoded = codec.encode(clip(5), clip(5), (32, 48))
    enlarged = resize(clip(5), (32, 48)).clamp(0, 1)
    raw = codec.vae.encode((2 * enlarged - 1).transpose(0, 1)[None]).latent_dist.mode()
    assert raw.shape == (1, 16, 2, 4, 6)
    for channel in range(8):
        torch.testing.assert_close(
            encoded.latents[:, channel],
            (raw[0, channel] - MEAN[channel]) / STD[channel],
            rtol=0,
            atol=1e-5,
        )


@torch.inference_mode()
def test_decoding_undoes_the_normalisation_and_the_range(codec):
    encoded = codec.encode(clip(5), clip(5), (32, 48))
    latents = torch.randn(2, 16, 4, 6, generator=torch.Generator().manual_seed(1))
    made = codec.decode(latents, encoded)
    config = codec.vae.config
    mean = torch.tensor(config.latents_mean).view(1, -1, 1, 1)
    std = torch.tensor(config.latents_std).view(1, -1, 1, 1)
    video = codec.vae.decode((latents * std + mean).transpose(0, 1)[None]).sample
    expected = video[0].transpose(0, 1) / 2 + 0.5
    torch.testing.assert_close(made.clamp(0, 1), expected, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_every_codec_is_called_alike(codec):
    for name in ("encode", "decode"):
        ours, nanos = (
            inspect.signature(getattr(kind, name)).parameters for kind in (WanCodec, NanoCodec)
        )
        assert [(p.name, p.default) for p in ours.values()] == [
            (p.name, p.default) for p in nanos.values()
        ]


@torch.inference_mode()
def test_codes_are_the_frames_rounded(codec):
    encoded = codec.encode(clip(5), clip(5), (32, 48))
    frames = codec.decode(encoded.latents, encoded)
    assert frames.min() < 0  # nothing is clamped in the float ones
    for kind in (torch.uint8, torch.uint16):
        codes = codec.decode(encoded.latents, encoded, kind)
        assert torch.equal(codes.long(), to_integer(frames, kind).long())


@torch.inference_mode()
def test_the_enlarged_picture_is_padded_not_the_source(codec):
    encoded = codec.encode(clip(1), clip(1), (36, 52))
    assert encoded.latents.shape == (1, 16, 6, 8)  # of 48 x 64 pixels
    padded = F.pad(resize(clip(1), (36, 52)), (0, 12, 0, 12), mode="replicate")
    assert torch.equal(encoded.latents, codec.encode(padded, padded, (48, 64)).latents)
    made = codec.decode(encoded.latents, encoded)
    assert made.shape == (1, 3, 36, 52)


@torch.inference_mode()
@pytest.mark.parametrize("num_frames", [1, 2, 4, 5, 6, 9])
def test_as_many_frames_come_out_as_went_in(codec, num_frames):
    encoded = codec.encode(clip(num_frames), clip(num_frames), (16, 16))
    assert encoded.num_frames == num_frames
    assert len(encoded.latents) == 1 + -(-(num_frames - 1) // 4)
    assert codec.decode(encoded.latents, encoded).shape == (num_frames, 3, 16, 16)


@torch.inference_mode()
def test_encoding_is_not_random(codec):
    first, second = (codec.encode(clip(2), clip(2), (16, 16)).latents for _ in range(2))
    assert torch.equal(first, second)


@torch.inference_mode()
def test_an_offloaded_codec_is_brought_in_for_both_ways(monkeypatch):
    codec = build_random("tiny", dtype=torch.float32).codec
    brought = []

    class Hook:
        def pre_forward(self, module):
            brought.append(module)

    monkeypatch.setattr(codec, "_hf_hook", Hook(), raising=False)
    encoded = codec.encode(clip(1), clip(1), (16, 16))
    assert brought
    assert set(brought) == {codec}
    brought.clear()
    codec.decode(encoded.latents, encoded)
    assert brought


def test_constants_of_its_own_are_in_its_configuration():
    made = WanCodec(base_dim=4, z_dim=4, latents_mean=(0.5,) * 4, latents_std=(2.0,) * 4)
    again = WanCodec.from_config(made.config)
    assert (again.vae.config.latents_mean, again.vae.config.latents_std) == ([0.5] * 4, [2.0] * 4)
