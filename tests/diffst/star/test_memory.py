"""The planner's laws for STAR against its real modules at full size, counted without their memory."""

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import (
    AutoencoderKLTemporalDecoder,
)

from diffst.star.network import StarUNet
from diffst_cli import memory_laws as laws
from tests.diffst.star.live_bytes import peak_bytes
from tests.diffst.star.random_star import PUBLISHED_VAE


def size_bytes(module: torch.nn.Module) -> int:
    return sum(value.numel() * value.element_size() for value in module.parameters())


@pytest.fixture(scope="module")
def network() -> StarUNet:
    with torch.device("meta"):
        return StarUNet().half().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def vae() -> AutoencoderKLTemporalDecoder:
    with torch.device("meta"):
        whole = AutoencoderKLTemporalDecoder(**PUBLISHED_VAE).eval().requires_grad_(False)
    whole.to("meta").decoder.half()  # one number of each block is made on the CPU
    return whole


def test_the_law_has_the_weights_of_the_modules(network, vae):
    assert size_bytes(network) == pytest.approx(laws.STAR_NETWORK_BYTES, rel=0.005)
    assert size_bytes(vae) == pytest.approx(laws.STAR_VAE_BYTES, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height", "frames"), [(1280, 720, 8), (1728, 976, 32)])
def test_the_network_holds_what_the_law_says_and_no_more(network, width, height, frames):
    with torch.device("meta"):
        latent = torch.empty(1, 4, frames, height // 8, width // 8, dtype=torch.half)
        told = torch.empty(1, dtype=torch.long), torch.empty(1, 77, 1024, dtype=torch.half)
    peak = peak_bytes(lambda: network(latent, *told, latent), network.parameters())
    law = laws.star_network_bytes(width * height, frames)
    assert 0.95 * law < peak <= law


@pytest.mark.slow
def test_the_vae_holds_what_the_law_says_and_no_more(vae):
    pixels = 1280 * 720
    with torch.device("meta"):
        latents = torch.empty(3, 4, 90, 160, dtype=torch.half)
        picture = torch.empty(1, 3, 720, 1280)
    calls = {
        laws.STAR_ENCODE_BYTES: lambda: vae.encode(picture),
        laws.STAR_DECODE_BYTES: lambda: vae.decode(latents[:1], num_frames=1),
        3 * laws.STAR_DECODE_BYTES: lambda: vae.decode(latents, num_frames=3),
    }
    for law, call in calls.items():
        assert 0.95 * law * pixels < peak_bytes(call, vae.parameters()) <= law * pixels
