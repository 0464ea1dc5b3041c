"""Wan's own key layout, written down from its repository, for tests of the conversion from it."""

import torch
from torch import Tensor

TRANSFORMER = {
    "condition_embedder.text_embedder.linear_1": "text_embedding.0",
    "condition_embedder.text_embedder.linear_2": "text_embedding.2",
    "condition_embedder.time_embedder.linear_1": "time_embedding.0",
    "condition_embedder.time_embedder.linear_2": "time_embedding.2",
    "condition_embedder.time_proj": "time_projection.1",
    "patch_embedding": "patch_embedding",
    "proj_out": "head.head",
}
BLOCK = {
    "attn1": "self_attn",
    "attn2": "cross_attn",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "o",
    "norm2": "norm3",
    "ffn.net.0.proj": "ffn.0",
    "ffn.net.2": "ffn.2",
}


def native_transformer_key(key: str) -> str:
    """The native name of a diffusers key of the transformer."""
    if key == "scale_shift_table":
        return "head.modulation"
    path, _, leaf = key.rpartition(".")
    if not key.startswith("blocks."):
        return f"{TRANSFORMER[path]}.{leaf}"
    _, number, inside = key.split(".", 2)
    if inside == "scale_shift_table":
        return f"blocks.{number}.modulation"
    part = inside.rpartition(".")[0]
    if part.startswith("attn"):
        attention, _, layer = part.partition(".")
        return f"blocks.{number}.{BLOCK[attention]}.{BLOCK.get(layer, layer)}.{leaf}"
    return f"blocks.{number}.{BLOCK[part]}.{leaf}"


RESIDUAL = {
    "norm1": "residual.0",
    "conv1": "residual.2",
    "norm2": "residual.3",
    "conv2": "residual.6",
    "conv_shortcut": "shortcut",
}


def native_vae_key(key: str) -> str:
    """The native name of a diffusers key of the VAE."""
    words = key.split(".")
    side, leaf = words[0], words[-1]
    if side in ("quant_conv", "post_quant_conv"):
        return f"{'conv1' if side == 'quant_conv' else 'conv2'}.{leaf}"
    if words[1] in ("conv_in", "norm_out", "conv_out"):
        return f"{side}.{ {'conv_in': 'conv1', 'norm_out': 'head.0', 'conv_out': 'head.2'}[words[1]] }.{leaf}"
    if words[1] == "mid_block":
        if words[2] == "attentions":
            return f"{side}.middle.1.{words[4]}.{leaf}"
        return f"{side}.middle.{2 * int(words[3])}.{RESIDUAL[words[4]]}.{leaf}"
    if words[1] == "down_blocks":
        rest = ".".join(words[3:-1])
        return f"encoder.downsamples.{words[2]}.{RESIDUAL.get(rest, rest)}.{leaf}"
    level = int(words[2])
    if words[3] == "upsamplers":
        return f"decoder.upsamples.{4 * level + 3}.{'.'.join(words[5:-1])}.{leaf}"
    return f"decoder.upsamples.{4 * level + int(words[4])}.{RESIDUAL[words[5]]}.{leaf}"


def native_transformer(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {native_transformer_key(key): value.clone() for key, value in state.items()}


def native_vae(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {native_vae_key(key): value.clone() for key, value in state.items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Equal keys and equal bits."""
    return first.keys() == second.keys() and all(
        torch.equal(value, second[key]) for key, value in first.items()
    )
