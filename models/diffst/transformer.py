"""The one-step diffusion transformer: diffusers' Wan transformer, called once at a fixed timestep.

    z = z_lr - sigma * v,   v = DiT(z_lr, timestep, guidance)

is the rectified-flow step (x0 = z - s v, Wan2.1), taken from the latents of the enlarged input
itself: no noise is added.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from einops import rearrange
from torch import Tensor

NANO_TRANSFORMER: dict[str, Any] = {
    "patch_size": (1, 1, 1),
    "num_attention_heads": 4,
    "attention_head_dim": 32,
    "in_channels": 32,
    "out_channels": 32,
    "text_dim": 64,
    "freq_dim": 64,
    "ffn_dim": 256,
    "num_layers": 2,
}


def null_guidance(transformer: WanTransformer3DModel) -> Tensor:
    """The tokens that stand for no guidance: one row of zeros, as Wan pads its text with."""
    return torch.zeros(1, 1, transformer.config.text_dim, dtype=torch.float32)


def one_step(
    transformer: WanTransformer3DModel,
    latents: Tensor,
    guidance: Tensor,
    *,
    timestep: float,
    sigma: float,
    window_latents: int,
) -> Tensor:
    """Take the one step on a clip's latents.

    Args:
        transformer: Wan transformer, any size.
        latents: (I, C, h, w) float, in time order.
        guidance: (G, N, text_dim) float; each row guides an equal run of windows (one clip: G = 1).
        timestep: The fixed timestep, in 0..1000.
        sigma: Length of the step.
        window_latents: Latents in time that see each other; 1 leaves time to the guidance and to CFCA's context, and
            then a clip may be cut anywhere without changing a frame.

    Returns:
        (I, C, h, w) in the type of `latents`.
    """
    dtype = transformer.patch_embedding.weight.dtype
    missing = -len(latents) % window_latents
    whole = torch.cat((latents, latents[-1:].expand(missing, -1, -1, -1))) if missing else latents
    windows = rearrange(whole, "(n t) c h w -> n c t h w", t=window_latents)
    tokens = guidance.to(device=latents.device, dtype=dtype)
    (windows_velocity,) = transformer(
        hidden_states=windows.to(dtype),
        timestep=torch.full((len(windows),), timestep, dtype=torch.float32, device=latents.device),
        encoder_hidden_states=tokens.repeat_interleave(len(windows) // len(tokens), dim=0),
        return_dict=False,
    )
    velocity: Tensor = rearrange(windows_velocity, "n c t h w -> (n t) c h w")[: len(latents)]
    return latents - sigma * velocity.to(latents.dtype)
