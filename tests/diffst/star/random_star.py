"""The I2VGen-XL-based STAR of the real classes, small, its weights random."""

from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import (
    AutoencoderKLTemporalDecoder,
)

from diffst.star.network import StarUNet
from diffst.star.pipeline import StarPipeline
from diffst.star.text import DEFAULT_PROMPT, save_states

TINY_UNET: dict[str, Any] = {
    "channels": 8,
    "context_dim": 24,
    "head_dim": 4,
    "first_heads": 3,
    "groups": 4,
}
PUBLISHED_VAE: dict[str, Any] = {  # stabilityai/stable-video-diffusion-img2vid's
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 768,
    "scaling_factor": 0.18215,
    "force_upcast": True,
}
TINY_VAE = {**PUBLISHED_VAE, "block_out_channels": (32, 32, 32, 32), "layers_per_block": 1}
LEAST_SIZE = (80, 64)  # height and width that smaller pictures are padded to
TEXT = (7, 24)  # tokens and width of the prompt's states


def build_random(*, seed: int = 0, **unet: Any) -> StarPipeline:
    """A pipeline of random float32 weights; `unet` replaces some of `TINY_UNET`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = StarUNet(**{**TINY_UNET, **unet})
        vae = AutoencoderKLTemporalDecoder(**TINY_VAE)
    parts = (network.eval().requires_grad_(False), vae.eval().requires_grad_(False))
    return StarPipeline(*parts, least_size=LEAST_SIZE)


def save_random(folder: Path, *, seed: int = 0, **unet: Any) -> None:
    """Write a random pipeline as a model folder that `diffst upscale --model` takes."""
    build_random(seed=seed, **unet).save_pretrained(folder)
    states = torch.randn(2, *TEXT, generator=torch.Generator().manual_seed(seed))
    save_states(folder, DEFAULT_PROMPT, states)
