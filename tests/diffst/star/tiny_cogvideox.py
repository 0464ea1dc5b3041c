"""The CogVideoX-based STAR of the real classes, small enough for a test, its weights random."""

import torch
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import AutoencoderKLCogVideoX

from diffst.star.cogvideox import StarCogVideoXTransformer
from diffst.star.cogvideox_pipeline import StarCogVideoXPipeline


def tiny_vae(seed: int = 0) -> AutoencoderKLCogVideoX:
    """Four latent channels, 1/4 of the size (the real one: 1/8), 1/4 of the frames."""
    torch.manual_seed(seed)
    vae = AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 3,
        up_block_types=("CogVideoXUpBlock3D",) * 3,
        block_out_channels=(4, 4, 4),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        scaling_factor=0.7,
    )
    return vae.eval().requires_grad_(False)


def tiny_transformer(seed: int = 0, *, spread: float = 0.1) -> StarCogVideoXTransformer:
    """Taught, as it were, at 96 x 96 pixels, so that pictures of more go through in tiles.

    Args:
        seed: Of the weights.
        spread: Of the weights; a larger one lets single ones matter more.
    """
    torch.manual_seed(seed)
    transformer = StarCogVideoXTransformer(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=8,
        out_channels=4,
        time_embed_dim=16,
        text_embed_dim=12,
        max_text_seq_length=3,
        num_layers=1,
        sample_height=24,
        sample_width=24,
        use_rotary_positional_embeddings=True,
    )
    for parameter in transformer.parameters():
        torch.nn.init.normal_(parameter, std=spread)
    transformer.eval().requires_grad_(False)
    return transformer


def tiny_pipeline(*, spread: float = 0.1) -> StarCogVideoXPipeline:
    """Both parts; see `tiny_transformer`."""
    return StarCogVideoXPipeline(tiny_transformer(spread=spread), tiny_vae())
