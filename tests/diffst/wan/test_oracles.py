"""What is known of Wan's VAE without its weights: what the native model computes, and how far it sees."""

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan, WanUpsample
from torch import Tensor, nn

from diffst.wan import build_random
from diffst.wan.codec import WanCodec
from diffst.wan.convert import vae_layout
from diffst.wan.levers import Levers, pull
from diffst.wan.vae_stream import DecoderStream, EncoderStream
from tests.diffst.wan.native import native_vae
from tests.diffst.wan.native_vae import native_frames, native_latents

# 3 x 3 convolutions at 1/8, 1/4 and 1/2 of the size and at the whole, each looking one place far.
REACH = 11 * 8 + 7 * 4 + 7 * 2 + 8  # pixels
LATENTS_HIGH = 40


@pytest.fixture(autouse=True)
def stock_doubles_in_the_given_type(monkeypatch):
    # Stock goes through float32 here, which would hide what float64 can show.
    monkeypatch.setattr(WanUpsample, "forward", nn.Upsample.forward)


def converted(native: dict[str, Tensor], levers: Levers) -> AutoencoderKLWan:
    """A VAE with native weights, through the conversion."""
    pipeline = build_random("tiny", dtype=torch.float64)
    codec: WanCodec = pipeline.codec
    codec.vae.load_state_dict(vae_layout(dict(native)), strict=True)
    pull(pipeline, levers)
    return codec.vae


@pytest.mark.parametrize("levers", [Levers(), Levers.exact()], ids=["stock", "exact"])
@torch.inference_mode()
def test_converted_weights_do_what_the_native_vae_does(levers):
    native = native_vae(build_random("tiny", dtype=torch.float64).codec.vae.state_dict())
    generator = torch.Generator().manual_seed(0)
    for key, value in native.items():
        scale = 0.2 if key.endswith("weight") else 1.0
        value.copy_(scale * torch.randn(value.shape, generator=generator, dtype=value.dtype))
    vae = converted(native, levers)
    video = torch.rand(3, 13, 32, 48, generator=generator, dtype=torch.float64) * 2 - 1
    encoder = EncoderStream(vae)
    made = torch.cat([*encoder.feed(video[None]), *encoder.finish()], dim=2)[0]
    expected = native_latents(native, video)
    assert expected.shape == (16, 4, 4, 6)
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-9 * float(expected.std()))
    latents = torch.randn(16, 4, 4, 6, generator=generator, dtype=torch.float64)
    decoder = DecoderStream(vae)
    made = torch.cat([*decoder.feed(latents[None]), *decoder.finish()], dim=2)[0]
    expected = native_frames(native, latents)
    assert expected.shape == (3, 13, 32, 48)
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-9 * float(expected.std()))


class Unchanged(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize("attends", [False, True])
@torch.inference_mode()
def test_the_decoder_sees_as_far_as_tiles_and_docs_say(attends):
    vae = build_random("tiny", dtype=torch.float64).codec.vae
    if not attends:
        vae.decoder.mid_block.attentions[0] = Unchanged()
    latents = torch.randn(1, 16, 2, LATENTS_HIGH, 2, dtype=torch.float64)
    moved = latents.clone()
    place = LATENTS_HIGH // 2
    moved[:, :, :, place] += 1.0
    before, after = (torch.cat(DecoderStream(vae).feed(given), dim=2) for given in (latents, moved))
    changed = (before != after)[0].any(0).any(0).any(-1).nonzero().flatten()
    first, last = int(changed.min()), int(changed.max())
    if attends:
        assert (first, last) == (0, 8 * LATENTS_HIGH - 1)
    else:
        assert (first, last) == (8 * place - REACH, 8 * place + 7 + REACH)


def test_doubling_short_numbers_needs_no_long_ones():
    """Stock goes through float32 for it; the fast ways never do."""
    pictures = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(0)).bfloat16()
    doubling = nn.Upsample(scale_factor=(2.0, 2.0), mode="nearest-exact")
    assert torch.equal(doubling(pictures), doubling(pictures.float()).bfloat16())


def test_a_convolution_over_time_is_one_over_frames_stacked_as_channels():
    generator = torch.Generator().manual_seed(0)
    convolution = nn.Conv3d(4, 5, 3, padding=(0, 1, 1), dtype=torch.float64)
    video = torch.randn(1, 4, 6, 8, 9, generator=generator, dtype=torch.float64)
    stacked = torch.cat([video[0, :, t : t + 4].transpose(0, 1) for t in range(3)], dim=1)
    weight = convolution.weight.transpose(1, 2).flatten(1, 2)
    made = nn.functional.conv2d(stacked, weight, convolution.bias, padding=1)
    torch.testing.assert_close(made.transpose(0, 1)[None], convolution(video), rtol=0, atol=1e-12)
