"""The Wan transformer with its one timestep folded into the weights.

At a fixed timestep the modulation of every block is a constant vector. With y = norm(x),

    W (y (1 + scale) + shift) + b  =  (W diag(1 + scale)) y + (b + W shift)
    gate (W y + b)                 =  (diag(gate) W) y + gate b

so shifts, scales and gates vanish into the neighbouring linear layers, and with them the embedding
of the timestep: 17 million parameters and six passes over the tokens in each block.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.transformers.transformer_wan import (
    WanTransformer3DModel,
    WanTransformerBlock,
)
from torch import Tensor, nn


class FoldedBlock(WanTransformerBlock):  # type: ignore[misc]
    """A block whose modulation is in its weights."""

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        temb: None,  # noqa: ARG002  (as the stock block is called)
        rotary_emb: tuple[Tensor, Tensor],
    ) -> Tensor:
        """(B, S, C) tokens -> the same shape."""
        x: Tensor = hidden_states
        x = x + self.attn1(self.norm1(x.float()).type_as(x), None, None, rotary_emb)
        x = x + self.attn2(self.norm2(x.float()).type_as(x), encoder_hidden_states, None, None)
        changed: Tensor = self.ffn(self.norm3(x.float()).type_as(x))
        return x + changed


class FoldedTransformer(WanTransformer3DModel):  # type: ignore[misc]
    """A transformer for one timestep; made by `fold_timestep`, not saved."""

    _repeated_blocks = ["FoldedBlock"]  # noqa: RUF012  (diffusers reads it from the class)

    def forward(
        self,
        hidden_states: Tensor,
        timestep: Tensor,  # noqa: ARG002  (folded)
        encoder_hidden_states: Tensor,
        return_dict: bool = False,  # noqa: ARG002  (as the stock model is called)
    ) -> tuple[Tensor]:
        """Velocity of (B, C, T, H, W) latents, in the same shape."""
        _, _, frames, height, width = hidden_states.shape
        depth, high, wide = self.config.patch_size
        rotary = self.rope(hidden_states)
        x = self.patch_embedding(hidden_states).flatten(2).transpose(1, 2).contiguous()
        guidance = self.condition_embedder.text_embedder(encoder_hidden_states)
        for block in self.blocks:
            x = block(x, guidance, None, rotary)
        x = self.proj_out(self.norm_out(x.float()).type_as(x))
        grid = (frames // depth, height // high, width // wide)
        patches = x.unflatten(2, (depth, high, wide, -1)).unflatten(1, grid)
        velocity = patches.permute(0, 7, 1, 4, 2, 5, 3, 6)
        return (velocity.flatten(6, 7).flatten(4, 5).flatten(2, 3),)


def fold_timestep(transformer: WanTransformer3DModel, timestep: float) -> None:
    """Fold a timestep into a transformer, in place.

    Raises:
        ValueError: It is folded already, or its projections are fused, which hides the weights to fold into.
    """
    if isinstance(transformer, FoldedTransformer):
        raise ValueError("the timestep is folded already")
    if any(getattr(part, "fused_projections", False) for part in transformer.modules()):
        raise ValueError("fold the timestep before the projections are fused")
    with torch.no_grad():
        time, modulation = embedded(transformer, timestep)
        for block in transformer.blocks:
            fold_block(block, block.scale_shift_table + modulation)
            del block.scale_shift_table
            block.__class__ = FoldedBlock
        shift, scale = (transformer.scale_shift_table[0] + time).unbind(0)
        fold_input(transformer.proj_out, shift, scale)
    del transformer.scale_shift_table
    del transformer.condition_embedder.time_embedder
    del transformer.condition_embedder.time_proj
    transformer.__class__ = FoldedTransformer


def embedded(transformer: WanTransformer3DModel, timestep: float) -> tuple[Tensor, Tensor]:
    """The timestep's embedding (1, C) and modulation (1, 6, C), in float32 at least."""
    embedder: Any = transformer.condition_embedder
    device = transformer.patch_embedding.weight.device
    steps = torch.tensor([timestep], dtype=torch.float32, device=device)
    kind = embedder.time_embedder.linear_1.weight.dtype
    time = embedder.time_embedder(embedder.timesteps_proj(steps).to(kind))
    projection = embedder.time_proj
    modulation = nn.functional.linear(
        embedder.act_fn(time), projection.weight.to(kind), projection.bias.to(kind)
    )
    return time, modulation.unflatten(1, (6, -1))


def fold_block(block: WanTransformerBlock, modulation: Tensor) -> None:
    """Fold the (1, 6, C) shifts, scales and gates of attention and feed-forward."""
    shift, scale, gate, ff_shift, ff_scale, ff_gate = modulation[0].unbind(0)
    for layer in (block.attn1.to_q, block.attn1.to_k, block.attn1.to_v):
        fold_input(layer, shift, scale)
    fold_output(block.attn1.to_out[0], gate)
    fold_input(block.ffn.net[0].proj, ff_shift, ff_scale)
    fold_output(block.ffn.net[2], ff_gate)


def fold_input(layer: nn.Linear, shift: Tensor, scale: Tensor) -> None:
    """Let a layer take y where it took y (1 + scale) + shift."""
    weight = layer.weight.to(shift.dtype)
    layer.bias.data = (layer.bias + weight @ shift).to(layer.bias.dtype)
    layer.weight.data = (weight * (1 + scale)).to(layer.weight.dtype)


def fold_output(layer: nn.Linear, gate: Tensor) -> None:
    """Let a layer give what was multiplied by the gate after it."""
    layer.weight.data = (layer.weight * gate[:, None]).to(layer.weight.dtype)
    layer.bias.data = (layer.bias * gate).to(layer.bias.dtype)
