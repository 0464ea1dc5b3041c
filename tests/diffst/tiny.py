"""A DiffST pipeline of the real classes, small enough for a test, all its weights random."""

import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel

from diffst.cfca import CFCA
from diffst.codec import NanoCodec
from diffst.pipeline import DiffSTPipeline
from diffst.vrg import VideoGuidance


def tiny_pipeline(seed: int = 0) -> DiffSTPipeline:
    """Every branch says something: no layer is left at its zero start."""
    torch.manual_seed(seed)
    transformer = WanTransformer3DModel(
        patch_size=(1, 1, 1),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=4,
        out_channels=4,
        text_dim=8,
        freq_dim=16,
        ffn_dim=32,
        num_layers=2,
    )
    parts = {
        "cfca": CFCA(hidden_channels=4),
        "vrg": VideoGuidance(num_tokens=3, token_dim=8, channels=8, max_frames=4),
        "transformer": transformer,
        "codec": NanoCodec(channels=8, coarse_channels=8, latent_channels=4, context_channels=4),
    }
    for part in parts.values():
        for parameter in part.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        part.eval().requires_grad_(False)
    return DiffSTPipeline(**parts)
