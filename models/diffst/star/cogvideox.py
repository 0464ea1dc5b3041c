"""The network of STAR's CogVideoX-5B-based variant: diffusers' transformer, the poor clip beside the noise, and gates.

Source: STAR (arXiv 2501.02976); CogVideoX-5B text-to-video with 32 input channels (16 noisy, 16 of the poor clip), and
in every layer a spatial and a temporal LIEM on the video tokens between the first norm and the joint attention.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from diffusers.models.attention_processor import CogVideoXAttnProcessor2_0
from diffusers.models.embeddings import get_3d_rotary_pos_embed
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXTransformer3DModel
from torch import Tensor, nn

from diffst.star.liem import SpatialLIEM, TemporalLIEM

LAST_NORM_EPS = 1e-6  # of the published model; diffusers gives all norms the same 1e-5
Grid = tuple[int, int, int]


class LocallyEnhancedAttention(nn.Module):
    """CogVideoX' joint attention of text and video, the video tokens gated first; a processor for diffusers."""

    def __init__(self) -> None:
        super().__init__()
        self.local_spatial = SpatialLIEM()
        self.local_temporal = TemporalLIEM()
        self.attend = CogVideoXAttnProcessor2_0()

    def __call__(
        self,
        attn: nn.Module,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
        grid: Grid | None = None,
    ) -> Any:
        """Attend.

        Args:
            attn: Owner of the projections.
            hidden_states: (B, T h w, C) video tokens.
            encoder_hidden_states: (B, L, C) text tokens.
            attention_mask: Passed on.
            image_rotary_emb: Passed on.
            grid: (T, h, w) of the video tokens.

        Returns:
            Both kinds of tokens, video first.
        """
        assert grid is not None, "this processor belongs to StarCogVideoXTransformer"
        gated = self.gate(hidden_states, grid)
        return self.attend(attn, gated, encoder_hidden_states, attention_mask, image_rotary_emb)

    def gate(self, tokens: Tensor, grid: Grid) -> Tensor:
        """(B, T h w, C) -> the same shape: each frame's pixels weighed, then each token."""
        frames, height, width = grid
        batch, _, channels = tokens.shape
        pictures = tokens.reshape(batch * frames, height, width, channels).permute(0, 3, 1, 2)
        weighed = self.local_spatial(pictures).permute(0, 2, 3, 1).reshape(tokens.shape)
        gated: Tensor = self.local_temporal(weighed)
        return gated


class StarCogVideoXTransformer(CogVideoXTransformer3DModel):  # type: ignore[misc]
    """CogVideoX' transformer with LIEM gates; configured as its parent, `in_channels` being twice `out_channels`.

    The gates' weights are `transformer_blocks.*.attn1.processor.local_{spatial,temporal}.conv1.weight`.
    """

    # The parent's signature, which diffusers reads to know what a configuration may hold.
    @functools.wraps(CogVideoXTransformer3DModel.__init__)  # type: ignore[misc]
    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        for block in self.transformer_blocks:
            block.attn1.set_processor(LocallyEnhancedAttention())
        self.norm_out.norm.eps = LAST_NORM_EPS

    def no_text(self) -> Tensor:
        """States that stand for no text, (1, L, text width): zeros, as taught, not those of an empty prompt."""
        return torch.zeros(1, self.config.max_text_seq_length, self.config.text_embed_dim)

    def predict(self, latents: Tensor, poor: Tensor, text: Tensor, timestep: int) -> Tensor:
        """The velocity v of noisy latents.

        Args:
            latents: (B, T, C, h, w), h and w multiples of the patch.
            poor: Latents of the poor clip, (1 or B, T, C, h, w).
            text: (B, L, text width).
            timestep: In 0..999.

        Returns:
            (B, T, C, h, w).
        """
        joined = torch.cat((latents, poor.expand_as(latents)), dim=2)
        return self.velocity(
            joined, text, torch.full((len(latents),), timestep, device=latents.device)
        )

    def velocity(self, joined: Tensor, text: Tensor, timesteps: Tensor) -> Tensor:
        """As `predict`, of latents joined on channels, (B, T, 2 C, h, w), each at its own timestep, (B,)."""
        patch = self.config.patch_size
        _, frames, _, height, width = joined.shape
        grid = (frames, height // patch, width // patch)
        rotary = self.rotary(grid, joined.device)
        (velocity,) = self(
            joined,
            text,
            timesteps,
            image_rotary_emb=rotary,
            attention_kwargs={"grid": grid},
            return_dict=False,
        )
        assert isinstance(velocity, Tensor)
        return velocity

    def rotary(self, grid: Grid, device: torch.device) -> tuple[Tensor, Tensor]:
        """Cosines and sines of the video tokens' positions, (T h w, head width) each."""
        frames, *size = grid
        # The published model counts its positions from 0 at any size.
        waves: tuple[Tensor, Tensor] = get_3d_rotary_pos_embed(
            self.config.attention_head_dim,
            crops_coords=None,
            grid_size=tuple(size),
            temporal_size=frames,
            grid_type="slice",
            max_size=tuple(size),
            device=device,
        )
        return waves
