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
# 0.6 at crf 34. At 1.5 and 2 times the size it is about 0.9 in the middle of 23 clips; too much costs the smoothest of
# them far more than too little costs any.
LEAST_SHARE = 0.35
WHOLE_SCALE = 2.5
STRIP_PIXELS = 320 * 60  # low-resolution pixels enlarged at once on a CPU


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """A clip inside the codec."""

    latents: Tensor
    """(I, C, H / 16, W / 16), rounded up, float32."""
    features: Tensor
    """(I, F, H, W): fine features at low resolution, for the decoder."""
    coarse_features: Tensor
    """(I, G, H / 2, W / 2), rounded up: features at half of it."""
    frames: Tensor
    """(I, 3, H, W) float32: the pictures themselves, whose bicubic enlargement the decoder adds to."""
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
        away = context - frames.unsqueeze(1)
        inner = self.both_sides(self.inner, away[:, 1:3])
        outer = self.both_sides(self.outer, away[:, ::3])
        merged: Tensor = self.merge(torch.cat((inner, outer), dim=1))
        return merged

    @staticmethod
    def both_sides(embed: nn.Module, away: Tensor) -> Tensor:
        """Features of differences on the left and on the right (I, 2, 3, H, W), summed: (I, C, H, W)."""
        given = away.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        sides: Tensor = leaky(embed(given)).unflatten(0, away.shape[:2])
        return sides[:, 0] + sides[:, 1]


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
        """Features and latents of the frames.

        Args:
            frames: (I, 3, H, W) float in [0, 1].
            context: (I, 4, 3, H, W) float in [0, 1], see `CFCA.keyframe_context`.
            size: Output height and width.
        """
        given = (frames - 0.5).to(self.dtype).contiguous(memory_format=torch.channels_last)
        features = self.head(given).add_(
            self.context(frames.to(self.dtype), context.to(self.dtype))
        )
        features = self.fine_encoder(features)
        coarse = self.coarse_encoder(leaky(self.to_coarse(features)))
        latents = self.to_latents(coarse).float()
        return Encoded(
            latents=latents,
            features=features,
            coarse_features=coarse,
            frames=frames.float(),
            size=size,
        )

    def decode(
        self, latents: Tensor, encoded: Encoded, output_type: torch.dtype = torch.float32
    ) -> Tensor:
        """Frames (I, 3, height, width) of `output_type`: float32, about [0, 1] and not clamped, or full-range codes."""
        coarse = encoded.coarse_features
        scale, shift = self.modulate(latents, coarse).chunk(2, dim=1)
        coarse = self.coarse_decoder(torch.addcmul(coarse, coarse, scale).add_(shift))
        height, width = encoded.features.shape[-2:]
        grown = F.pixel_shuffle(self.to_fine(coarse), 2)[..., :height, :width]
        features = grown.add_(encoded.features)
        detail = self.tail(self.fine_decoder(features))
        factor = self.config.factor
        if tuple(encoded.size) == (factor * height, factor * width):
            return enlarged_with(detail, encoded.frames, factor, output_type)
        resized = resize(arrange(detail, factor).float(), encoded.size)
        share = detail_share(math.sqrt(math.prod(encoded.size) / (height * width)))
        plain = resize(encoded.frames, encoded.size)
        return finish(plain + share * resized, output_type)

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


def enlarged_with(
    detail: Tensor, frames: Tensor, factor: int, output_type: torch.dtype = torch.float32
) -> Tensor:
    """The bicubic enlargement of the frames with detail on top.

    The same numbers as `F.interpolate(mode="bicubic")` at a whole factor, where each of the factor^2 places within a
    pixel has its own fixed 5 x 5 kernel: one convolution, and pixels move to their places last, when they are small.
    On a CPU a strip of rows at a time, so that all between stays in the cache; whole pictures took four times as long.

    Args:
        detail: (N, C factor^2, H, W), any float type; one channel for each place within a pixel.
        frames: (N, C, H, W) float32.
        factor: Whole enlargement.
        output_type: float32, or codes as `finish` makes them.

    Returns:
        (N, C, factor H, factor W) of `output_type`.
    """
    count, channels, height, width = frames.shape
    on_cpu = frames.device.type == "cpu"
    rows = max(1, STRIP_PIXELS // (count * width)) if on_cpu else height
    line = cubic_weights(factor)
    places = torch.einsum("py,qx->pqyx", line, line).flatten(0, 1).float().to(frames.device)
    kernels = places.unsqueeze(1).repeat(channels, 1, 1, 1)
    padded = F.pad(frames, (2, 2, 2, 2), mode="replicate").contiguous(
        memory_format=torch.channels_last
    )
    made = frames.new_empty(count, channels, factor * height, factor * width, dtype=output_type)
    for top in range(0, height, rows):
        end = min(top + rows, height)
        with torch.autocast(frames.device.type, enabled=False):  # it is the picture, not a feature
            plain = F.conv2d(padded[..., top : end + 4, :], kernels, groups=channels)
        strip = finish(plain.add_(detail[..., top:end, :]), output_type)
        made[..., factor * top : factor * end, :] = arrange(strip, factor)
    return made


def cubic_weights(factor: int) -> Tensor:
    """Weights of the five nearest pixels at each place within a pixel, (factor, 5) float64 (Keys, a = -0.75).

    On the CPU: Apple's GPUs have no float64.
    """
    places = (torch.arange(factor, dtype=torch.float64) + 0.5) / factor - 0.5
    x = (torch.arange(-2, 3, dtype=torch.float64) - places[:, None]).abs()
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
