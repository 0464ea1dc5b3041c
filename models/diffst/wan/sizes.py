"""The sizes there are: the one of Wan2.1-T2V-1.3B, and a tiny one of the same classes for tests."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

TIME_STRIDE = 4  # frames in one latent, after the first, which holds one
SPACE_STRIDE = 8  # pixels along each side of one latent
PATCH = 2  # latents along each side of one token
PIXEL_MULTIPLE = SPACE_STRIDE * PATCH  # sides of what the transformer sees
TILE_OVERLAP = 64  # output pixels that the tool's tiles share; as diffusers' own do


def even_side(length: int, most: int, overlap: int) -> int:
    """The shortest side of pieces that cover a length in as few as pieces of at most `most` do.

    Pieces of `most` share more than they must, so that much is made twice: four of 1024 pixels hold twice the
    pixels of 1920x1080, where four of 992x576 hold a tenth more.

    Args:
        length: To cover, in any unit.
        most: Of a piece; more than the overlap.
        overlap: That neighbours share at least.
    """
    if length <= most:
        return length
    number = math.ceil((length - overlap) / (most - overlap))
    return math.ceil((length + (number - 1) * overlap) / number)


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
