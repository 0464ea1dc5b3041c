"""The codec: pictures to latents for the one-step transformer, and back.

Every codec has one interface: `encode(frames, context, size) -> Encoded` and `decode(latents,
encoded, output_type) -> frames`. Nano's codec is light and keeps what it was given: its decoder sees the
encoder's features besides the latents, and adds what it finds to a plain bicubic enlargement.
DiffST's paper uses a frozen video VAE here; at nano's size one trained from nothing would lose more
than it gives.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange
from torch import Tensor, nn

from diffst.layers import leaky, zeroed
from diffst.pixels import to_integer_

LATENT_STRIDE = 16  # low-resolution pixels along each side of one latent
# The least-squares best share of the detail on four real clips at their own size: 0.16 to 0.38 coded at crf 24, 0.15 to
# 0.6 at crf 34; 0.5 to 1.2 at twice the size.
LEAST_SHARE = 0.35
WHOLE_SCALE = 2.0


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
    """The bicubic enlargement that the decoder adds to, float32: (I, 3, height, width), or at the native factor
    (I, 3 x factor^2, H, W), one channel for each place within a low-resolution pixel."""
    size: tuple[int, int]
    """Output height and width."""


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions around a leaky ReLU, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        changed: Tensor = self.conv2(leaky(self.conv1(x)))
        return changed.add_(x)


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
            base=self.enlarge(frames.float(), size),
            size=size,
        )

    def decode(
        self, latents: Tensor, encoded: Encoded, output_type: torch.dtype = torch.float32
    ) -> Tensor:
        """Frames (I, 3, height, width) of `output_type`: float32, about [0, 1] and not clamped, or full-range codes."""
        coarse = encoded.coarse_features
        scale, shift = self.modulate(latents, coarse).chunk(2, dim=1)
        coarse = self.coarse_decoder(coarse + coarse * scale + shift)
        height, width = encoded.features.shape[-2:]
        features = encoded.features + F.pixel_shuffle(self.to_fine(coarse), 2)[..., :height, :width]
        detail = self.tail(self.fine_decoder(features))
        factor = self.config.factor
        if self.is_native(encoded.features, encoded.size):
            # Pixels move to their places last, when they are small.
            return arrange(finish(encoded.base + detail, output_type), factor)
        resized = resize(arrange(detail, factor).float(), encoded.size)
        share = detail_share(math.sqrt(math.prod(encoded.size) / (height * width)))
        return finish(encoded.base + share * resized, output_type)

    def is_native(self, low: Tensor, size: tuple[int, int]) -> bool:
        """Whether the output is exactly `factor` times the low-resolution pictures."""
        factor = self.config.factor
        return tuple(size) == (factor * low.shape[-2], factor * low.shape[-1])

    def enlarge(self, frames: Tensor, size: tuple[int, int]) -> Tensor:
        """The plain enlargement in the form that `Encoded.base` says."""
        if self.is_native(frames, size):
            return bicubic_phases(frames, self.config.factor)
        return resize(frames, size)

    def modulate(self, latents: Tensor, coarse: Tensor) -> Tensor:
        """Scale and shift for the coarse features, from the latents, brought to their size."""
        modulation = self.modulation(latents.to(self.dtype))
        step = LATENT_STRIDE // 2
        grown = F.interpolate(modulation, scale_factor=step, mode="bilinear")
        return grown[..., : coarse.shape[-2], : coarse.shape[-1]]


def detail_share(scale: float) -> float:
    """How much of the detail to add at a scale: all from `WHOLE_SCALE` on, less towards 1 and below.

    There the detail is hardly more than a correction of what the input has already, and the network, which learns at
    its native factor, corrects a good input too much.
    """
    rise = (scale - 1) / (WHOLE_SCALE - 1)
    return LEAST_SHARE + (1 - LEAST_SHARE) * min(max(rise, 0.0), 1.0)


def bicubic_phases(frames: Tensor, factor: int) -> Tensor:
    """Bicubic enlargement as one convolution, before its pixels are arranged.

    The same numbers as `F.interpolate(mode="bicubic")` at a whole factor, where each of the factor^2 places within a
    pixel has its own fixed 5 x 5 kernel: three times as fast, and the sum with the decoder's detail needs no second
    arrangement.

    Args:
        frames: (N, C, H, W) float32.
        factor: Whole enlargement.

    Returns:
        (N, C factor^2, H, W); `arrange` makes the picture of it.
    """
    line = cubic_weights(factor, frames.device)
    places = torch.einsum("py,qx->pqyx", line, line).flatten(0, 1).float()
    channels = frames.shape[1]
    kernel = frames.new_zeros(channels, factor**2, channels, 5, 5)
    for channel in range(channels):
        kernel[channel, :, channel] = places
    padded = F.pad(frames, (2, 2, 2, 2), mode="replicate")
    with torch.autocast(frames.device.type, enabled=False):  # it is the picture, not a feature
        return F.conv2d(padded.contiguous(memory_format=torch.channels_last), kernel.flatten(0, 1))


def cubic_weights(factor: int, device: torch.device) -> Tensor:
    """Weights of the five nearest pixels at each place within a pixel, (factor, 5) float64 (Keys, a = -0.75)."""
    places = (torch.arange(factor, dtype=torch.float64, device=device) + 0.5) / factor - 0.5
    x = (torch.arange(-2, 3, dtype=torch.float64, device=device) - places[:, None]).abs()
    a = -0.75
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * (x**3 - 5 * x**2 + 8 * x - 4)
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def arrange(pixels: Tensor, factor: int) -> Tensor:
    """(N, C factor^2, H, W) -> (N, C, factor H, factor W); `F.pixel_shuffle` in one copy, also of channels-last."""
    return rearrange(pixels, "n (c p q) h w -> n c (h p) (w q)", p=factor, q=factor)


def finish(frames: Tensor, output_type: torch.dtype) -> Tensor:
    """Float32 as it is, or clamped and rounded integers; uses up the frames."""
    if output_type.is_floating_point:
        return frames
    return to_integer_(frames, output_type)


def resize(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """Bicubic resize of (N, C, H, W); the same tensor where the size is the same already."""
    if tuple(frames.shape[-2:]) == tuple(size):
        return frames
    shrinks = size[0] < frames.shape[-2] or size[1] < frames.shape[-1]
    return F.interpolate(frames.contiguous(), size=size, mode="bicubic", antialias=shrinks)
