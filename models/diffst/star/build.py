"""STAR with random weights: the real classes, for tests and for speed, never for pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import (
    AutoencoderKLTemporalDecoder,
)

from diffst.star.frames import LEAST_SIZE
from diffst.star.network import StarUNet
from diffst.star.pipeline import StarPipeline
from diffst.star.text import DEFAULT_PROMPT, save_states


@dataclass(frozen=True, kw_only=True)
class StarSize:
    """The configurations of a size's components."""

    unet: dict[str, Any]
    vae: dict[str, Any]
    least_size: tuple[int, int]
    """Height and width that smaller pictures are padded to."""
    text: tuple[int, int]
    """Tokens and width of the prompt's states."""


# Of stabilityai/stable-video-diffusion-img2vid.
PUBLISHED_VAE: dict[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 768,
    "scaling_factor": 0.18215,
    "force_upcast": True,
}
SIZES = {
    "published": StarSize(unet={}, vae=PUBLISHED_VAE, least_size=LEAST_SIZE, text=(77, 1024)),
    "tiny": StarSize(
        unet={"channels": 8, "context_dim": 24, "head_dim": 4, "first_heads": 3, "groups": 4},
        vae={**PUBLISHED_VAE, "block_out_channels": (32, 32, 32, 32), "layers_per_block": 1},
        least_size=(80, 64),
        text=(7, 24),
    ),
}


def build_random(size: str = "tiny", *, seed: int = 0) -> StarPipeline:
    """A pipeline of random float32 weights; "published" takes 8.6 GB.

    Args:
        size: A name in `SIZES`.
        seed: The same seed gives the same weights.

    Raises:
        ValueError: There is no such size.
    """
    chosen = named_size(size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = StarUNet(**chosen.unet)
        vae = AutoencoderKLTemporalDecoder(**chosen.vae)
    parts = (unet.eval().requires_grad_(False), vae.eval().requires_grad_(False))
    return StarPipeline(*parts, least_size=chosen.least_size)


def save_random(folder: Path, size: str = "tiny", *, seed: int = 0) -> None:
    """Write a random pipeline as a model folder that `diffst upscale --model` takes.

    Raises:
        ValueError: There is no such size.
    """
    build_random(size, seed=seed).save_pretrained(folder)
    states = torch.randn(2, *named_size(size).text, generator=torch.Generator().manual_seed(seed))
    save_states(folder, DEFAULT_PROMPT, states)


def named_size(size: str) -> StarSize:
    """A size by its name.

    Raises:
        ValueError: There is none.
    """
    if size not in SIZES:
        raise ValueError(f"size `{size}` is not one of {', '.join(SIZES)}")
    return SIZES[size]
