"""The codec: pictures to latents for the one-step transformer, and back.

Every codec has one interface: `encode(frames, context, size) -> Encoded` and `decode(latents,
encoded) -> frames`. Nano's codec is light and keeps what it was given: its decoder sees the
encoder's features besides the latents, and adds what it finds to a plain bicubic enlargement.
DiffST's paper uses a frozen video VAE here; at nano's size one trained from nothing would lose more
than it gives.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from diffst.layers import zeroed

LATENT_STRIDE = 16  # low-resolution pixels along each side of one latent


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """A clip inside the codec."""

    latents: Tensor
    """(I, C, H / 16, W / 16), rounded up, float32."""
    features: Tensor
    """(I, F, H, W): fine features at low resolution, for the decoder."""
    coarse_features: Tensor
    """(I, G, H / 2, W / 2), rounded up: features at half of it."""
    base: Tensor
    """(I, 3, height, width): the bicubic enlargement that the decoder adds to, float32."""


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions around a leaky ReLU, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        changed: Tensor = self.conv2(leaky(self.conv1(x)))
        return x + changed


class ContextEmbedding(nn.Module):
    """What the neighbours add to a frame: features of their differences from it.

    The convolutions have no bias and their activation keeps 0 at 0, so neighbours that equal the frame add nothing: a
    still clip stays still whatever was trained. Left and right share weights and are summed, so time can be reversed.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.inner = nn.Conv2d(3, hidden, 3, padding=1, bias=False)
        self.outer = nn.Conv2d(3, hidden, 3, padding=1, bias=False)
        self.merge = nn.Conv2d(2 * hidden, channels, 3, padding=1, bias=False)

    def forward(self, frames: Tensor, context: Tensor) -> Tensor:
        """(I, 3, H, W) and (I, 4, 3, H, W) -> (I, C, H, W)."""
        away = [side - frames for side in context.unbind(1)]
        outer = leaky(self.outer(away[0])) + leaky(self.outer(away[3]))
        inner = leaky(self.inner(away[1])) + leaky(self.inner(away[2]))
        merged: Tensor = self.merge(torch.cat((inner, outer), dim=1))
        return merged


class NanoCodec(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A convolutional codec on the low-resolution grid, native factor 4, any output size.

    Args:
        channels: Width at low resolution.
        coarse_channels: Width at half of it.
        latent_channels: Channels of the latents.
        context_channels: Width of the context embedding.
        fine_blocks: Residual blocks at low resolution, in the encoder and again in the decoder.
        coarse_blocks: Likewise at half of it.
        factor: The native enlargement of the decoder.
    """

    @register_to_config
    def __init__(
        self,
        channels: int = 32,
        coarse_channels: int = 64,
        latent_channels: int = 32,
        context_channels: int = 16,
        fine_blocks: int = 2,
        coarse_blocks: int = 2,
        factor: int = 4,
    ) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, channels, 3, padding=1)
        self.context = ContextEmbedding(channels, context_channels)
        self.fine_encoder = nn.Sequential(*(ResidualBlock(channels) for _ in range(fine_blocks)))
        self.to_coarse = nn.Conv2d(channels, coarse_channels, 3, stride=2, padding=1)
        self.coarse_encoder = nn.Sequential(
            *(ResidualBlock(coarse_channels) for _ in range(coarse_blocks))
        )
        self.to_latents = nn.Sequential(
            nn.Conv2d(coarse_channels, coarse_channels, 3, stride=2, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(coarse_channels, coarse_channels, 3, stride=2, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(coarse_channels, latent_channels, 3, stride=2, padding=1),
        )
        self.modulation = zeroed(nn.Conv2d(latent_channels, 2 * coarse_channels, 1))
        self.coarse_decoder = nn.Sequential(
            *(ResidualBlock(coarse_channels) for _ in range(coarse_blocks))
        )
        self.to_fine = nn.Conv2d(coarse_channels, 4 * channels, 1)
        self.fine_decoder = nn.Sequential(*(ResidualBlock(channels) for _ in range(fine_blocks)))
        self.tail = zeroed(nn.Conv2d(channels, 3 * factor * factor, 3, padding=1))

    def encode(self, frames: Tensor, context: Tensor, size: tuple[int, int]) -> Encoded:
        """Features and latents of the frames, and their plain enlargement.

        Args:
            frames: (I, 3, H, W) float in [0, 1].
            context: (I, 4, 3, H, W) float in [0, 1], see `Aggregated`.
            size: Output height and width.
        """
        given = (frames - 0.5).to(self.dtype).contiguous(memory_format=torch.channels_last)
        features = self.head(given) + self.context(frames.to(self.dtype), context.to(self.dtype))
        features = self.fine_encoder(features)
        coarse = self.coarse_encoder(leaky(self.to_coarse(features)))
        latents = self.to_latents(coarse).float()
        return Encoded(
            latents=latents,
            features=features,
            coarse_features=coarse,
            base=resize(frames.float(), size),
        )

    def decode(self, latents: Tensor, encoded: Encoded) -> Tensor:
        """Frames (I, 3, height, width), float32, about [0, 1], not clamped."""
        coarse = encoded.coarse_features
        scale, shift = self.modulate(latents, coarse).chunk(2, dim=1)
        coarse = self.coarse_decoder(coarse + coarse * scale + shift)
        height, width = encoded.features.shape[-2:]
        features = encoded.features + F.pixel_shuffle(self.to_fine(coarse), 2)[..., :height, :width]
        detail = F.pixel_shuffle(self.tail(self.fine_decoder(features)), self.config.factor).float()
        return encoded.base + resize(detail, (encoded.base.shape[-2], encoded.base.shape[-1]))

    def modulate(self, latents: Tensor, coarse: Tensor) -> Tensor:
        """Scale and shift for the coarse features, from the latents, brought to their size."""
        modulation = self.modulation(latents.to(self.dtype))
        step = LATENT_STRIDE // 2
        grown = F.interpolate(modulation, scale_factor=step, mode="bilinear")
        return grown[..., : coarse.shape[-2], : coarse.shape[-1]]


def leaky(x: Tensor) -> Tensor:
    """The codec's activation."""
    return F.leaky_relu(x, 0.1)


def resize(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Bicubic resize of (N, C, H, W); the same tensor where the size is the same already."""
    if tuple(frames.shape[-2:]) == tuple(size):
        return frames
    shrinks = size[0] < frames.shape[-2] or size[1] < frames.shape[-1]
    return F.interpolate(frames.contiguous(), size=size, mode="bicubic", antialias=shrinks)
