"""The blocks STAR's network is built of; module names are the keys of the published weights.

Images run through as (B * F, C, h, w), all frames of the first sample first. What sees time is told
the number of frames F. Source: I2VGen-XL's network as STAR (arXiv 2501.02976) trained it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention
from einops import rearrange
from torch import Tensor, nn

from diffst.star.liem import SpatialLIEM, TemporalLIEM

DROPOUT = 0.1  # in training
TRANSFORMER_NORM_EPS = 1e-6  # of the group norm at a transformer's entry; all others have 1e-5
SLICE_TOKENS = (
    128 * 1024
)  # that pass a transformer together: its feed-forward holds 8 times their width
MAX_ATTENTIONS = 32768  # heads of all rows in one call; CUDA's kernels take fewer than 65536


def in_slices(run: Callable[..., Tensor], inputs: tuple[Tensor, ...], rows: int) -> Tensor:
    """`run(*inputs)`, at most so many rows at a time: the same where rows do not see each other.

    Args:
        run: Gives a tensor of its first input's shape.
        inputs: (N, ...) each.
        rows: Of N.
    """
    if rows >= len(inputs[0]):
        return run(*inputs)
    if torch.is_grad_enabled():
        return torch.cat(
            [run(*part) for part in zip(*(t.split(rows) for t in inputs), strict=True)]
        )
    result = torch.empty_like(inputs[0])
    for start in range(0, len(result), rows):
        part = slice(start, start + rows)
        result[part] = run(*(tensor[part] for tensor in inputs))
    return result


def pointwise(layer: nn.Conv1d, tokens: Tensor) -> Tensor:
    """A convolution of one tap on (N, F, C), without turning it around; (N, F, out_channels)."""
    return F.linear(tokens, layer.weight.squeeze(-1), layer.bias)


class Recomputed(nn.Module):
    """A layer whose inner values need not be kept for the way back; diffusers sets what follows."""

    gradient_checkpointing = False
    _gradient_checkpointing_func: Callable[..., Tensor]


class TemporalConvStack(nn.Module):
    """Four convolutions along time with one residual around them all."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        for number in range(1, 5):
            dropout = [nn.Dropout(DROPOUT)] if number > 1 else []
            stage = nn.Sequential(
                nn.GroupNorm(groups, channels),
                nn.SiLU(),
                *dropout,
                nn.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0)),
            )
            self.add_module(f"conv{number}", stage)

    def forward(self, images: Tensor, num_frames: int) -> Tensor:
        """(B * F, C, h, w) -> the same; its norms take their statistics over all frames of a sample."""
        clip = rearrange(images, "(b f) c h w -> b c f h w", f=num_frames)
        result = clip
        for stage in self.children():
            result = stage(result)
        return rearrange(clip + result, "b c f h w -> (b f) c h w")


class ResBlock(Recomputed):
    """Two 3 x 3 convolutions that know the timestep, then the convolutions along time."""

    def __init__(
        self, in_channels: int, out_channels: int, embedding_dim: int, groups: int
    ) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(
            nn.GroupNorm(groups, in_channels),
            nn.SiLU(),
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding_dim, out_channels))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(groups, out_channels),
            nn.SiLU(),
            nn.Dropout(DROPOUT),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
        )
        self.skip_connection = (
            nn.Identity()
            if in_channels == out_channels
            else nn.Conv2d(in_channels, out_channels, 1)
        )
        self.temopral_conv = TemporalConvStack(
            out_channels, groups
        )  # so the published keys spell it

    def forward(self, images: Tensor, embedding: Tensor, num_frames: int) -> Tensor:
        """(B * F, C, h, w) and (B * F, D) -> (B * F, out_channels, h, w)."""
        hidden = self.in_layers(images) + self.emb_layers(embedding)[..., None, None]
        hidden = self.out_layers(hidden) + self.skip_connection(images)
        result: Tensor = self.temopral_conv(hidden, num_frames)
        return result


class SpatialLayer(nn.Module):
    """Attention of one frame's pixels to each other and to the text; the gate feeds the first only."""

    def __init__(self, channels: int, head_dim: int, context_dim: int) -> None:
        super().__init__()
        heads = channels // head_dim
        self.attn1 = Attention(channels, heads=heads, dim_head=head_dim)
        self.attn2 = Attention(channels, context_dim, heads=heads, dim_head=head_dim)
        self.ff = FeedForward(channels)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(channels) for _ in range(3))
        self.local1 = SpatialLIEM()

    def forward(self, tokens: Tensor, text: Tensor, width: int) -> Tensor:
        """(N, h * w, C), (N, L, context_dim) and w -> (N, h * w, C)."""
        images = rearrange(tokens, "n (h w) c -> n c h w", w=width)
        gated = rearrange(self.local1(images), "n c h w -> n (h w) c")
        tokens = tokens + self.attn1(self.norm1(gated))
        tokens = tokens + self.attn2(self.norm2(tokens), encoder_hidden_states=text)
        result: Tensor = tokens + self.ff(self.norm3(tokens))
        return result


class SpatialTransformer(Recomputed):
    """One `SpatialLayer` between projections, added to its input."""

    def __init__(self, channels: int, head_dim: int, context_dim: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=TRANSFORMER_NORM_EPS)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList([SpatialLayer(channels, head_dim, context_dim)])
        self.proj_out = nn.Linear(channels, channels)

    def forward(self, images: Tensor, text: Tensor) -> Tensor:
        """(B * F, C, h, w) and (B * F, L, context_dim) -> (B * F, C, h, w)."""
        frames = max(1, SLICE_TOKENS // (images.shape[-2] * images.shape[-1]))
        return images + in_slices(self.added, (images, text), frames)

    def added(self, images: Tensor, text: Tensor) -> Tensor:
        """What is added to some frames, (N, C, h, w)."""
        height, width = images.shape[-2:]
        tokens = self.proj_in(rearrange(self.norm(images), "n c h w -> n (h w) c"))
        for layer in self.transformer_blocks:
            tokens = layer(tokens, text, width)
        made: Tensor = rearrange(self.proj_out(tokens), "n (h w) c -> n c h w", h=height)
        return made


class TemporalLayer(nn.Module):
    """Two attentions of one pixel's frames to each other, each behind a gate."""

    def __init__(self, channels: int, head_dim: int) -> None:
        super().__init__()
        heads = channels // head_dim
        self.attn1 = Attention(channels, heads=heads, dim_head=head_dim)
        self.attn2 = Attention(channels, heads=heads, dim_head=head_dim)
        self.ff = FeedForward(channels)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(channels) for _ in range(3))
        self.local1 = TemporalLIEM()
        self.local2 = TemporalLIEM()

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, F, C) -> the same."""
        tokens = tokens + self.attn1(self.norm1(self.local1(tokens)))
        tokens = tokens + self.attn2(self.norm2(self.local2(tokens)))
        result: Tensor = tokens + self.ff(self.norm3(tokens))
        return result


class TemporalTransformer(Recomputed):
    """One `TemporalLayer` of any width between projections, added to its input."""

    def __init__(self, channels: int, inner_channels: int, head_dim: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=TRANSFORMER_NORM_EPS)
        self.proj_in = nn.Conv1d(channels, inner_channels, 1)
        self.transformer_blocks = nn.ModuleList([TemporalLayer(inner_channels, head_dim)])
        self.proj_out = nn.Conv1d(inner_channels, channels, 1)
        self.heads = inner_channels // head_dim

    def forward(self, images: Tensor, num_frames: int) -> Tensor:
        """(B * F, C, h, w) -> the same; its norm takes its statistics over all frames of a sample."""
        height, width = images.shape[-2:]
        clip = self.norm(rearrange(images, "(b f) c h w -> b c f h w", f=num_frames))
        pixels = rearrange(clip, "b c f h w -> (b h w) f c")
        rows = max(1, min(SLICE_TOKENS // num_frames, MAX_ATTENTIONS // self.heads))
        added = in_slices(self.added, (pixels,), rows)
        return images + rearrange(added, "(b h w) f c -> (b f) c h w", h=height, w=width)

    def added(self, pixels: Tensor) -> Tensor:
        """What is added to some pixels, (N, F, C)."""
        tokens = pointwise(self.proj_in, pixels)
        for layer in self.transformer_blocks:
            tokens = layer(tokens)
        return pointwise(self.proj_out, tokens)


class Downsample(nn.Module):
    """Halves an image; the upper and lower border count one row more than the sides, as in training."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=(2, 1))

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, (h + 1) // 2 + 1, (w + 1) // 2)."""
        halved: Tensor = self.op(images)
        return halved


class Upsample(nn.Module):
    """Doubles an image and drops its first and last row, which `Downsample` added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, 2 * h - 2, 2 * w)."""
        doubled: Tensor = self.conv(F.interpolate(images, scale_factor=2.0)[..., 1:-1, :])
        return doubled
