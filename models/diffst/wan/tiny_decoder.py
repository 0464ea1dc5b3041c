"""A small decoder for Wan's latents: TAEW2.1, 9.8 million parameters instead of 73, in place of the VAE's.

It decodes frame by frame with two-dimensional convolutions; of time each block knows the frame
before, so it streams exactly, like the VAE. Its pictures are near the VAE's, not the same.

Source: keys, shapes and meaning of the published weights, github.com/madebyollin/taehv (MIT) at
1f14a56. Its latents are the normalised ones and its pictures are in [0, 1], unlike the VAE's.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from diffst.wan.sizes import TIME_STRIDE
from diffst.wan.vae_stream import Cache, LatentStream

LARGEST_LATENT = 3.0  # larger ones, either way, are bent towards it
FRAMES_GROWN = (1, 2, 2)  # out of each frame, at 1/8, 1/4 and 1/2 of the size
BLOCKS_PER_SIZE = 3

Memory = list[Tensor | None]
"""For each memory block the last frame that it was given; None before the video begins."""


class SoftLimit(nn.Module):
    """Bends latents softly into -3..3."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return torch.tanh(x / LARGEST_LATENT) * LARGEST_LATENT


class MemoryBlock(nn.Module):
    """Three convolutions over a frame and the one before it, added to the frame."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(2 * channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor, before: Tensor | None) -> Tensor:
        """(T, C, H, W), and the frame before them, (1, C, H, W); None is the beginning of a video."""
        first = torch.zeros_like(x[:1]) if before is None else before
        past = torch.cat((first, x[:-1]))
        changed: Tensor = self.conv(torch.cat((x, past), dim=1))
        return F.relu(changed + x)


class Growth(nn.Module):
    """Makes several frames of each."""

    def __init__(self, channels: int, frames: int) -> None:
        super().__init__()
        self.frames = frames
        self.conv = nn.Conv2d(channels, channels * frames, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(T, C, H, W) -> (T * frames, C, H, W); channels hold the new frames one after the other."""
        grown: Tensor = self.conv(x).unflatten(1, (self.frames, -1)).flatten(0, 1)
        return grown


class DoublingConv(nn.Conv2d):
    """A 3 x 3 convolution of the picture doubled by repetition."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(channels, out_channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(T, C, H, W) -> (T, C', 2 H, 2 W)."""
        made: Tensor = super().forward(F.interpolate(x, scale_factor=2, mode="nearest"))
        return made


class TinyDecoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Latents of Wan2.1 to pictures; the keys are those of the published file.

    Args:
        latent_channels: Of the latents.
        channels: Width at 1/8, 1/4 and 1/2 of the size, and at the whole size.
    """

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 16,
        channels: tuple[int, int, int, int] = (256, 128, 64, 64),
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            SoftLimit(),
            nn.Conv2d(latent_channels, channels[0], 3, padding=1),
            nn.ReLU(),
        ]
        for width, next_width, frames in zip(channels, channels[1:], FRAMES_GROWN, strict=False):
            layers += [MemoryBlock(width) for _ in range(BLOCKS_PER_SIZE)]
            # Published with the doubling before the growth: it may wait, since growth looks at single pixels.
            layers += [nn.Identity(), Growth(width, frames), DoublingConv(width, next_width)]
        layers += [nn.ReLU(), nn.Conv2d(channels[-1], 3, 3, padding=1)]
        self.decoder = nn.Sequential(*layers)

    def forward(self, latents: Tensor, memory: Memory) -> Tensor:
        """Frames of the next latents of a video.

        Args:
            latents: (T, C, h, w), normalised.
            memory: From `new_memory`; brought up to date.

        Returns:
            (4 T, 3, 8 h, 8 w), about [0, 1]. The first three frames of a video say nothing.
        """
        place, x = 0, latents
        for layer in self.decoder:
            if isinstance(layer, MemoryBlock):
                before, memory[place] = memory[place], x[-1:].clone()
                x = layer(x, before)
                place += 1
            else:
                x = layer(x)
        return x

    def new_memory(self) -> Memory:
        """What the decoder knows before a video begins."""
        return [None for layer in self.decoder if isinstance(layer, MemoryBlock)]


class TinyStream(LatentStream):
    """Decodes one video; see `LatentStream`."""

    def __init__(
        self, decoder: TinyDecoder, latents_per_call: int = 1, cache: Cache | None = None
    ) -> None:
        super().__init__(decoder.new_memory(), latents_per_call, cache)
        self.decoder = decoder

    def decode(self, latents: Tensor, *, first: bool) -> Tensor:
        """(1, C, T, h, w), normalised -> (1, 3, T', 8 h, 8 w), about [0, 1]."""
        frames: Tensor = self.decoder(latents[0].transpose(0, 1), self.cache)
        # What comes before the first latent's last frame is there only so that every latent makes four.
        return frames[TIME_STRIDE - 1 if first else 0 :].transpose(0, 1).unsqueeze(0)
