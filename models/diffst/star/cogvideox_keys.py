"""The published weights of the CogVideoX-based STAR, from SAT's names to diffusers', LoRA merged.

A LoRA of rank r stands unmerged in the file, W + (B A) / r for each of query, key, value and the output; SAT keeps the
first three in one matrix, and the six modulations of video and text of a layer in another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from diffst.star.cogvideox import StarCogVideoXTransformer
from diffst.star.pickled import read_pickled

PREFIX = "model.diffusion_model."  # of the network; the file may hold other parts
NOT_NEEDED = (  # a table the rotary positions replace, and the positions themselves
    "transformer.position_embeddings.weight",
    "mixins.pos_embed.freqs_sin",
    "mixins.pos_embed.freqs_cos",
)
LORA_ALPHA = 1.0

RENAMED = {
    "mixins.patch_embed.proj_sr": "patch_embed.proj",
    "mixins.patch_embed.text_proj": "patch_embed.text_proj",
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "transformer.final_layernorm": "norm_final",
    "mixins.final_layer.norm_final": "norm_out.norm",
    "mixins.final_layer.adaLN_modulation.1": "norm_out.linear",
    "mixins.final_layer.linear": "proj_out",
}
RENAMED_IN_LAYER = {
    "transformer.layers.{}.input_layernorm": "norm1.norm",
    "transformer.layers.{}.post_attention_layernorm": "norm2.norm",
    "mixins.adaln_layer.query_layernorm_list.{}": "attn1.norm_q",
    "mixins.adaln_layer.key_layernorm_list.{}": "attn1.norm_k",
    "transformer.layers.{}.mlp.dense_h_to_4h": "ff.net.0.proj",
    "transformer.layers.{}.mlp.dense_4h_to_h": "ff.net.2",
}
GATES = {
    "transformer.layers.{}.spa_local.conv1.weight": "attn1.processor.local_spatial.conv1.weight",
    "transformer.layers.{}.temp_local.conv1.weight": "attn1.processor.local_temporal.conv1.weight",
}
# Rows of a layer's modulation, in twelfths: video's before the attention, its after, then text's.
FIRST_NORM, SECOND_NORM = (0, 1, 2, 6, 7, 8), (3, 4, 5, 9, 10, 11)


class SatState:
    """The tensors of a SAT checkpoint's network, each taken once."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Keep what belongs to the network, its prefix off."""
        self._left = {
            name.removeprefix(PREFIX): tensor
            for name, tensor in tensors.items()
            if name.startswith(PREFIX)
        }
        for name in NOT_NEEDED:
            self._left.pop(name, None)

    def take(self, name: str) -> Tensor:
        """A tensor, which is gone then.

        Raises:
            ValueError: It is not there.
        """
        if name not in self._left:
            raise ValueError(f"the weights lack `{PREFIX}{name}`")
        return self._left.pop(name)

    def shape(self, name: str) -> torch.Size:
        """Of a tensor, which stays.

        Raises:
            ValueError: It is not there.
        """
        if name not in self._left:
            raise ValueError(f"the weights lack `{PREFIX}{name}`")
        return self._left[name].shape

    def num_layers(self) -> int:
        """How many layers there are."""
        return sum(name.endswith(".input_layernorm.weight") for name in self._left)

    def finish(self) -> None:
        """Raise ValueError where a tensor was never taken."""
        if self._left:
            raise ValueError(f"the weights hold `{PREFIX}{min(self._left)}`, which has no place")


def converted(state: SatState) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of `StarCogVideoXTransformer` by its name, one at a time.

    Raises:
        ValueError: One is missing, or one is left over.
    """
    layers = state.num_layers()
    for old, new in RENAMED.items():
        for kind in ("weight", "bias"):
            yield f"{new}.{kind}", state.take(f"{old}.{kind}")
    for layer in range(layers):
        for name, tensor in converted_layer(state, layer):
            yield f"transformer_blocks.{layer}.{name}", tensor
    state.finish()


def converted_layer(state: SatState, layer: int) -> Iterator[tuple[str, Tensor]]:
    """The tensors of one layer, by their names in it."""
    for old, new in RENAMED_IN_LAYER.items():
        for kind in ("weight", "bias"):
            yield f"{new}.{kind}", state.take(f"{old.format(layer)}.{kind}")
    for old, new in GATES.items():
        yield new, state.take(old.format(layer))
    for kind in ("weight", "bias"):
        twelfths = state.take(f"mixins.adaln_layer.adaLN_modulations.{layer}.1.{kind}").chunk(12)
        yield f"norm1.linear.{kind}", torch.cat([twelfths[i] for i in FIRST_NORM])
        yield f"norm2.linear.{kind}", torch.cat([twelfths[i] for i in SECOND_NORM])
    attention = f"transformer.layers.{layer}.attention"
    for part, targets in (
        (f"{attention}.query_key_value", ("to_q", "to_k", "to_v")),
        (f"{attention}.dense", ("to_out.0",)),
    ):
        weights = state.take(f"{part}.original.weight").chunk(len(targets))
        biases = state.take(f"{part}.original.bias").chunk(len(targets))
        for i, target in enumerate(targets):
            down, up = state.take(f"{part}.matrix_A.{i}"), state.take(f"{part}.matrix_B.{i}")
            yield f"attn1.{target}.weight", merged(weights[i], down, up)
            yield f"attn1.{target}.bias", biases[i]


def merged(weight: Tensor, down: Tensor, up: Tensor) -> Tensor:
    """W (m, n) + B (m, r) A (r, n) alpha / r, in float32."""
    return weight.float() + up.float() @ down.float() * (LORA_ALPHA / len(down))


def empty_transformer(state: SatState) -> StarCogVideoXTransformer:
    """A network of the sizes that the weights' shapes tell, on torch's meta device: without memory."""
    time_width, width = state.shape("time_embed.0.weight")
    (head_width,) = state.shape("mixins.adaln_layer.query_layernorm_list.0.weight")
    _, in_channels, patch, _ = state.shape("mixins.patch_embed.proj_sr.weight")
    with torch.device("meta"):
        transformer: StarCogVideoXTransformer = StarCogVideoXTransformer(
            num_attention_heads=width // head_width,
            attention_head_dim=head_width,
            in_channels=in_channels,
            out_channels=state.shape("mixins.final_layer.linear.weight")[0] // patch**2,
            time_embed_dim=time_width,
            text_embed_dim=state.shape("mixins.patch_embed.text_proj.weight")[1],
            num_layers=state.num_layers(),
            patch_size=patch,
            use_rotary_positional_embeddings=True,
        )
    return transformer


def transformer_from_sat(
    tensors: Mapping[str, Tensor], dtype: torch.dtype
) -> StarCogVideoXTransformer:
    """The network of a SAT checkpoint's tensors, LoRA merged, every key matched.

    Raises:
        ValueError: A tensor is missing, left over, or of another shape.
    """
    state = SatState(tensors)
    transformer = empty_transformer(state)
    # Each tensor is made small before the next is read: the file may be four times the network.
    weights = {name: tensor.to(dtype) for name, tensor in converted(state)}
    try:
        transformer.load_state_dict(weights, strict=True, assign=True)
    except RuntimeError as error:
        raise ValueError(f"the weights do not fit together: {error}") from error
    transformer.eval()
    return transformer


def read_sat_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of `mp_rank_00_model_states.pt`, mapped from the file rather than read.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not such a file, or it holds more than tensors and plain values.
    """
    content = read_pickled(path)
    tensors = content.get("module") if isinstance(content, dict) else None
    if not isinstance(tensors, dict):
        raise ValueError(f"`{path}` has no `module`, which holds the weights of a SAT checkpoint")
    return tensors


def convert_published(path: Path, folder: Path) -> None:
    """Write the published file's network as a `transformer` folder: bfloat16, LoRA merged, a quarter of the size.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It does not hold STAR's weights.
    """
    transformer = transformer_from_sat(read_sat_checkpoint(path), torch.bfloat16)
    transformer.save_pretrained(folder)
