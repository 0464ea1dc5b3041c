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


def native_velocity(
    weights: dict[str, Tensor], latents: Tensor, timestep: float, context: Tensor, heads: int
) -> Tensor:
    """Wan's transformer written out on its native weights.

    Args:
        weights: Under native keys.
        latents: (C, T, H, W).
        timestep: In 0..1000.
        context: (N, text_dim).
        heads: Of attention.
    """

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()

    def gelu(x: Tensor) -> Tensor:
        return 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))

    def silu(x: Tensor) -> Tensor:
        return x / (1 + torch.exp(-x))

    def attention(name: str, x: Tensor, seen: Tensor, turn: Tensor | None) -> Tensor:
        def part(letter: str, given: Tensor) -> Tensor:
            made = linear(f"{name}.{letter}", given)
            if letter != "v":
                rms = (made.square().mean(-1, keepdim=True) + 1e-6).sqrt()
                made = made / rms * weights[f"{name}.norm_{letter}.weight"]
            split = made.unflatten(-1, (heads, -1)).transpose(0, 1)
            if turn is None or letter == "v":
                return split
            pairs = torch.view_as_complex(split.unflatten(-1, (-1, 2)).contiguous())
            return torch.view_as_real(pairs * turn).flatten(-2)

        q, k, v = part("q", x), part("k", seen), part("v", seen)
        shares = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        return linear(f"{name}.o", (shares @ v).transpose(0, 1).flatten(1))

    # The timestep and the context.
    half = weights["time_embedding.0.weight"].shape[1] // 2
    angles = timestep * 10000 ** (-torch.arange(half, dtype=latents.dtype) / half)
    waves = torch.cat((angles.cos(), angles.sin()))
    time = linear("time_embedding.2", silu(linear("time_embedding.0", waves)))
    modulation = linear("time_projection.1", silu(time)).unflatten(0, (6, -1))
    text = linear("text_embedding.2", gelu(linear("text_embedding.0", context)))
    # Patches and their places.
    patches = torch.nn.functional.conv3d(
        latents[None],
        weights["patch_embedding.weight"],
        weights["patch_embedding.bias"],
        stride=(1, 2, 2),
    )[0]
    x = patches.flatten(1).T
    depth, high, wide = patches.shape[1:]
    width = x.shape[1] // heads
    sizes = (width - 4 * (width // 6), 2 * (width // 6), 2 * (width // 6))
    turns = [
        torch.outer(
            torch.arange(length).double(), 10000.0 ** (-torch.arange(0, size, 2).double() / size)
        )
        for length, size in zip((depth, high, wide), sizes, strict=True)
    ]
    whole = torch.cat(
        (
            turns[0][:, None, None].expand(depth, high, wide, -1),
            turns[1][None, :, None].expand(depth, high, wide, -1),
            turns[2][None, None].expand(depth, high, wide, -1),
        ),
        dim=-1,
    ).flatten(0, 2)
    turn = torch.polar(torch.ones_like(whole), whole)
    # Blocks.
    count = 1 + max(int(key.split(".")[1]) for key in weights if key.startswith("blocks."))
    for number in range(count):
        block = f"blocks.{number}"
        e = (weights[f"{block}.modulation"][0] + modulation).unbind(0)
        seen = norm(x) * (1 + e[1]) + e[0]
        x = x + attention(f"{block}.self_attn", seen, seen, turn) * e[2]
        affine = norm(x) * weights[f"{block}.norm3.weight"] + weights[f"{block}.norm3.bias"]
        x = x + attention(f"{block}.cross_attn", affine, text, None)
        inner = gelu(linear(f"{block}.ffn.0", norm(x) * (1 + e[4]) + e[3]))
        x = x + linear(f"{block}.ffn.2", inner) * e[5]
    # The head.
    e = (weights["head.modulation"][0] + time).unbind(0)
    made = linear("head.head", norm(x) * (1 + e[1]) + e[0])
    grid = made.unflatten(1, (1, 2, 2, -1)).unflatten(0, (depth, high, wide))
    return torch.einsum("fhwpqrc->cfphqwr", grid).reshape(-1, depth, 2 * high, 2 * wide)
