"""The sizes there are: the one of Wan2.1-T2V-1.3B, and a tiny one of the same classes for tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

TIME_STRIDE = 4  # frames in one latent, after the first, which holds one
SPACE_STRIDE = 8  # pixels along each side of one latent
PATCH = 2  # latents along each side of one token
PIXEL_MULTIPLE = SPACE_STRIDE * PATCH  # sides of what the transformer sees


@dataclass(frozen=True, kw_only=True)
class WanSize:
    """The configuration of each component."""

    transformer: dict[str, Any]
    """Of `WanTransformer3DModel`."""
    vae: dict[str, Any]
    """Of `AutoencoderKLWan`, and so of `WanCodec`."""
    vrg: dict[str, Any]
    """Of `VideoGuidance`."""
    cfca: dict[str, Any]
    """Of `CFCA`."""
    tiny_decoder: dict[str, Any]
    """Of `TinyDecoder`."""


SIZES = {
    "1.3b": WanSize(
        transformer={
            "patch_size": (1, PATCH, PATCH),
            "num_attention_heads": 12,
            "attention_head_dim": 128,
            "in_channels": 16,
            "out_channels": 16,
            "text_dim": 4096,
            "freq_dim": 256,
            "ffn_dim": 8960,
            "num_layers": 30,
        },
        vae={"base_dim": 96, "z_dim": 16},
        vrg={"num_tokens": 64, "token_dim": 4096, "channels": 384},
        cfca={},
        tiny_decoder={},
    ),
    "tiny": WanSize(
        transformer={
            "patch_size": (1, PATCH, PATCH),
            "num_attention_heads": 2,
            "attention_head_dim": 12,
            "in_channels": 16,
            "out_channels": 16,
            "text_dim": 16,
            "freq_dim": 16,
            "ffn_dim": 48,
            "num_layers": 2,
        },
        vae={"base_dim": 4, "z_dim": 16},
        vrg={"num_tokens": 3, "token_dim": 16, "channels": 8, "max_frames": 4},
        cfca={"hidden_channels": 4},
        tiny_decoder={"channels": (8, 4, 4, 4)},
    ),
}
