"""The Wan VAE's layers with fewer passes over memory; the same numbers to rounding, the same keys.

Stock code reads and writes each full-size tensor about ten times per convolution: the norm in
float32 in eight passes, padding by copying, the causal cache by copying twice. Each class here takes
the place of one of diffusers' on the module itself, so weights, names and the caches' number stay.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl_wan import (
    WanAttentionBlock,
    WanCausalConv3d,
    WanDecoder3d,
    WanEncoder3d,
    WanResample,
    WanResidualBlock,
    WanRMS_norm,
    WanUpsample,
)
from torch import Tensor, nn

from diffst.wan.tiny_decoder import DoublingConv

CACHED_FRAMES = 2  # that a convolution over three frames looks back on
LEAST_NORM = 1e-12  # stock divides by no less

Cache = list[Any]


class Norm(WanRMS_norm):  # type: ignore[misc]
    """RMS norm over channels: one pass to measure in float32, two to scale, nothing large in float32."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) -> the same shape and memory layout."""
        exact = torch.promote_types(x.dtype, torch.float32)
        lengths = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=exact)
        # No factor may overflow the short type: zeros times infinity would not be zeros.
        least = max(LEAST_NORM, self.scale / torch.finfo(x.dtype).max)
        factors = (self.scale / lengths.clamp_min_(least)).to(x.dtype)
        normed: Tensor = (x * factors).mul_(self.gamma)
        return normed


class NormActivation(Norm):
    """RMS norm and SiLU; the module that followed as activation becomes the identity."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) -> the same shape and memory layout."""
        return F.silu(super().forward(x), inplace=not torch.is_grad_enabled())

    def after(self, before: Tensor, x: Tensor) -> Tensor:
        """The result for `x` behind the frames `before` in one tensor, written there at once; without gradients."""
        batch, channels, frames, height, width = x.shape
        known = before.shape[2]
        last = x.is_contiguous(memory_format=torch.channels_last_3d)
        joined = torch.empty(
            (batch, channels, known + frames, height, width),
            dtype=x.dtype,
            device=x.device,
            memory_format=torch.channels_last_3d if last else torch.contiguous_format,
        )
        joined[:, :, :known] = before
        torch.ops.aten.silu.out(super().forward(x), out=joined[:, :, known:])
        return joined


class Conv(WanCausalConv3d):  # type: ignore[misc]
    """Causal convolution whose borders in space are the convolution's own, not a copy with zeros around it."""

    def forward(self, x: Tensor, cache_x: Tensor | None = None) -> Tensor:
        """(N, C, T, H, W), and the frames before it if there are any."""
        if cache_x is None or not self._padding[4]:
            return self.over(x, self._padding[4])
        return self.over(torch.cat((cache_x, x), dim=2), self._padding[4] - cache_x.shape[2])

    def over(self, x: Tensor, missing: int) -> Tensor:
        """Convolve; `missing` frames of zeros would have to stand before `x`."""
        weight = self.weight
        if missing and missing + x.shape[2] == self.kernel_size[0]:
            weight = weight[:, :, missing:]  # the other taps would meet nothing but zeros
        elif missing:
            x = F.pad(x, (0, 0, 0, 0, missing, 0))
        borders = (0, self._padding[2], self._padding[0])
        return F.conv3d(x, weight, self.bias, self.stride, borders)

    def step(
        self, x: Tensor, cache: Cache | None, index: list[int], before: nn.Module | None = None
    ) -> Tensor:
        """Convolve a stream's next frames.

        Args:
            x: (N, C, T, H, W).
            cache: Its place at `index` takes what the next call needs; None is a video of its own.
            index: Moves on.
            before: Norm and activation that come first.
        """
        if cache is None:
            return self.over(x if before is None else before(x), self._padding[4])
        known = cache[index[0]]
        # A compiler writes in place by itself, and gradients need what is overwritten.
        plain = torch.is_grad_enabled() or torch.compiler.is_compiling()
        if known is not None and isinstance(before, NormActivation) and not plain:
            x = before.after(known, x)
        else:
            x = x if before is None else before(x)
            x = x if known is None else torch.cat((known, x), dim=2)
        # A copy, so that the cache does not hold on to the whole of `x`.
        cache[index[0]] = x[:, :, -CACHED_FRAMES:].clone()
        index[0] += 1
        return self.over(x, self._padding[4] - (0 if known is None else known.shape[2]))


class ResidualBlock(WanResidualBlock):  # type: ignore[misc]
    """Two norms, activations and convolutions around the input."""

    def forward(
        self, x: Tensor, feat_cache: Cache | None = None, feat_idx: list[int] | None = None
    ) -> Tensor:
        """(N, C, T, H, W) -> (N, C', T, H, W)."""
        index = feat_idx if feat_idx is not None else [0]
        shortcut: Tensor = self.conv_shortcut(x)
        x = self.conv1.step(x, feat_cache, index, activated(self.norm1, self.nonlinearity))
        x = self.conv2.step(x, feat_cache, index, activated(self.norm2, self.nonlinearity))
        return x + shortcut


class Resample(WanResample):  # type: ignore[misc]
    """Doubling in time and space; what comes before a video is zeros in the cache, not a mark."""

    def forward(
        self, x: Tensor, feat_cache: Cache | None = None, feat_idx: list[int] | None = None
    ) -> Tensor:
        """(N, C, T, H, W) -> twice the sides, twice the frames after the first."""
        if self.mode != "upsample3d" or feat_cache is None or feat_idx is None:
            made: Tensor = super().forward(x, feat_cache, feat_idx if feat_idx is not None else [0])
            return made
        if feat_cache[feat_idx[0]] is None:
            feat_cache[feat_idx[0]] = torch.zeros_like(x[:, :, :1]).repeat(
                1, 1, CACHED_FRAMES, 1, 1
            )
            feat_idx[0] += 1
        else:
            pairs = self.time_conv.step(x, feat_cache, feat_idx)
            # Channels hold two frames one after the other.
            frames = pairs.unflatten(1, (2, -1)).permute(0, 3, 1, 4, 5, 2)
            x = frames.flatten(1, 2).permute(0, 4, 1, 2, 3)
        batch, frames_in = x.shape[0], x.shape[2]
        flat: Tensor = self.resample(x.transpose(1, 2).flatten(0, 1))
        made = flat.unflatten(0, (batch, frames_in)).transpose(1, 2)
        return made


class AttentionBlock(WanAttentionBlock):  # type: ignore[misc]
    """Attention over each frame, its 1 x 1 convolutions as products over tokens, which need no other layout."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, H, W) -> the same shape and memory layout."""
        batch, _, _, height, _ = x.shape
        normed: Tensor = self.norm(x.transpose(1, 2).flatten(0, 1))
        tokens = normed.flatten(2).transpose(1, 2).unsqueeze(1)
        together = F.linear(tokens, self.to_qkv.weight.flatten(1), self.to_qkv.bias)
        query, key, value = together.chunk(3, dim=-1)
        seen = F.scaled_dot_product_attention(query, key, value)
        changed = F.linear(seen.squeeze(1), self.proj.weight.flatten(1), self.proj.bias)
        frames: Tensor = changed.unflatten(0, (batch, -1)).unflatten(2, (height, -1))
        return x + frames.permute(0, 4, 1, 2, 3)


class Encoder(WanEncoder3d):  # type: ignore[misc]
    """The encoder, with the causal convolutions' own step."""

    def forward(
        self, x: Tensor, feat_cache: Cache | None = None, feat_idx: list[int] | None = None
    ) -> Tensor:
        """(N, 3, T, H, W) -> (N, 2 z_dim, T', H / 8, W / 8)."""
        index = feat_idx if feat_idx is not None else [0]
        x = self.conv_in.step(x, feat_cache, index)
        for layer in self.down_blocks:
            x = layer(x) if feat_cache is None else layer(x, feat_cache, index)
        x = self.mid_block(x, feat_cache=feat_cache, feat_idx=index)
        return out_of(self, x, feat_cache, index)


class Decoder(WanDecoder3d):  # type: ignore[misc]
    """The decoder, likewise."""

    def forward(
        self,
        x: Tensor,
        feat_cache: Cache | None = None,
        feat_idx: list[int] | None = None,
        first_chunk: bool = False,  # noqa: ARG002  (only Wan2.2's blocks look at it)
    ) -> Tensor:
        """(N, z_dim, T, h, w) -> (N, 3, T', 8 h, 8 w)."""
        index = feat_idx if feat_idx is not None else [0]
        x = self.conv_in.step(x, feat_cache, index)
        x = self.mid_block(x, feat_cache=feat_cache, feat_idx=index)
        for block in self.up_blocks:
            x = block(x, feat_cache=feat_cache, feat_idx=index)
        return out_of(self, x, feat_cache, index)


def out_of(half: Encoder | Decoder, x: Tensor, cache: Cache | None, index: list[int]) -> Tensor:
    """The norm, activation and convolution that end both halves."""
    made: Tensor = half.conv_out.step(x, cache, index, activated(half.norm_out, half.nonlinearity))
    return made


def activated(norm: nn.Module, activation: nn.Module) -> nn.Module:
    """Norm and activation as one module: the norm itself where it holds both."""
    return norm if isinstance(norm, NormActivation) else nn.Sequential(norm, activation)


class PhaseConv(nn.Conv2d):
    """A 3 x 3 convolution of a picture doubled by repetition, computed on the picture itself.

    Each of the four output phases sees only 2 x 2 different input pixels, so four 2 x 2 kernels give the same for
    4 / 9 of the work, and the doubled picture is never made.
    """

    phases: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', 2 H, 2 W)."""
        batch, _, height, width = x.shape
        bias = None if self.bias is None else self.bias.repeat(4)
        made = F.conv2d(x, self.phases, bias, padding=1)
        if made.is_contiguous(memory_format=torch.channels_last):
            buffer = made.new_empty(batch, height, 2, width, 2, self.out_channels)
            doubled = buffer.permute(0, 5, 1, 2, 3, 4)
        else:
            doubled = made.new_empty(batch, self.out_channels, height, 2, width, 2)
        for phase, corner in enumerate(made.split(self.out_channels, dim=1)):
            down, across = divmod(phase, 2)
            doubled[..., down, :, across] = corner[
                ..., down : down + height, across : across + width
            ]
        return doubled.flatten(4, 5).flatten(2, 3)


def phase_kernels(weight: Tensor) -> Tensor:
    """Kernels (4 C', C, 2, 2) of the phases, row phase first, from (C', C, 3, 3), summed in float32 at least."""
    exact = weight.to(torch.promote_types(weight.dtype, torch.float32))
    # Which of the three taps fall on each of the two input pixels, for the first and the second phase.
    taps = torch.tensor([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]]).to(exact)
    kernels = torch.einsum("ark,bsl,oikl->aboirs", taps, taps, exact)
    return kernels.flatten(0, 2).to(weight.dtype)


def fuse_norms(vae: nn.Module) -> None:
    """Norm and activation in one module each."""
    for module in vae.modules():
        if isinstance(module, WanResidualBlock):
            become(module.norm1, NormActivation)
            become(module.norm2, NormActivation)
            module.nonlinearity = nn.Identity()
        elif isinstance(module, WanEncoder3d | WanDecoder3d):
            become(module.norm_out, NormActivation)
            module.nonlinearity = nn.Identity()
        elif isinstance(module, WanAttentionBlock):
            become(module.norm, Norm)


def drop_copies(vae: nn.Module) -> None:
    """Convolutions without copies of their input for borders, and with one copy for the cache."""
    kinds: dict[type[nn.Module], type[nn.Module]] = {
        WanCausalConv3d: Conv,
        WanResidualBlock: ResidualBlock,
        WanResample: Resample,
        WanAttentionBlock: AttentionBlock,
        WanEncoder3d: Encoder,
        WanDecoder3d: Decoder,
    }
    for module in vae.modules():
        if type(module) in kinds:
            become(module, kinds[type(module)])


def use_phases(codec: nn.Module) -> None:
    """Doubling and convolution in one, in the VAE and in the tiny decoder."""
    for module in codec.modules():
        if isinstance(module, WanResample) and isinstance(module.resample[0], WanUpsample):
            module.resample[0] = nn.Identity()
            in_phases(module.resample[1])
        elif isinstance(module, DoublingConv):
            in_phases(module)


def in_phases(convolution: nn.Conv2d) -> None:
    """Let a convolution double its input too."""
    become(convolution, PhaseConv)
    convolution.register_buffer(
        "phases", phase_kernels(convolution.weight.detach()), persistent=False
    )


def lay_out_channels_last(codec: nn.Module) -> None:
    """Weights in the layout that tensor cores read; activations follow the weights."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for module in codec.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            for tensor in (module.weight, getattr(module, "phases", None)):
                if tensor is not None:
                    tensor.data = tensor.data.contiguous(memory_format=formats[tensor.dim()])


def become(module: nn.Module, kind: type[nn.Module]) -> None:
    """Let a module behave as another class of the same parts."""
    module.__class__ = kind
