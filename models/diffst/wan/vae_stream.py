"""The Wan VAE on a video of any length, in constant memory, exactly as on the whole video at once.

The VAE is causal: each convolution over time looks at the two frames before its own. Whoever keeps
those may cut a video anywhere. diffusers keeps them in the model itself, forgets them at the end of
every call and drops what does not fill a latent; here they belong to the stream, so that one VAE
serves any number of videos at once.

Source: the caches' meaning and the call of encoder and decoder with them, `AutoencoderKLWan._encode`
and `._decode` of diffusers 0.42.1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan, WanCausalConv3d
from torch import Tensor, nn

from diffst.wan.sizes import SPACE_STRIDE, TIME_STRIDE

Cache = list[Any]
"""For each causal layer the frames it looks back on, (..., h, w) at its size; None or a mark before there is any."""


def new_cache(network: nn.Module) -> Cache:
    """An empty cache for an encoder or a decoder: a place for each causal convolution."""
    return [None for module in network.modules() if isinstance(module, WanCausalConv3d)]


class EncoderStream:
    """Encodes one video, handed over in pieces of any length.

    The result does not depend on the pieces, bit for bit: the network always gets one frame, then
    `TIME_STRIDE * latents_per_call` at a time.

    Args:
        vae: Not changed.
        latents_per_call: More makes fewer, larger calls; the result is the same to rounding.
        cache: Of a stream at the end of a latent, to go on from there; brought up to date. None begins a video.
    """

    def __init__(
        self, vae: AutoencoderKLWan, latents_per_call: int = 1, cache: Cache | None = None
    ) -> None:
        self.vae = vae
        self.chunk = TIME_STRIDE * latents_per_call
        self.cache = new_cache(vae.encoder) if cache is None else cache
        self.waiting: Tensor | None = None
        self.started = cache is not None

    def feed(self, frames: Tensor) -> list[Tensor]:
        """Latents that are complete with these frames.

        Args:
            frames: (1, 3, T, H, W) in [-1, 1], in the VAE's type; sides are multiples of SPACE_STRIDE.

        Returns:
            Pieces (1, z_dim, T', H / 8, W / 8): the posterior's mode, not normalised.

        Raises:
            ValueError: The VAE would cut the sides.
        """
        if any(side % SPACE_STRIDE for side in frames.shape[-2:]):
            raise ValueError(f"sides of {tuple(frames.shape[-2:])} are not multiples of 8")
        waiting = frames if self.waiting is None else torch.cat((self.waiting, frames), dim=2)
        latents = []
        while waiting.shape[2] >= (length := self.chunk if self.started else 1):
            latents.append(self._encode(waiting[:, :, :length]))
            waiting = waiting[:, :, length:]
        self.waiting = waiting
        return latents

    def finish(self) -> list[Tensor]:
        """The rest; the last frame is held until it fills a latent."""
        if self.waiting is None or not self.waiting.shape[2]:
            return []
        missing = -self.waiting.shape[2] % TIME_STRIDE
        held = self.waiting[:, :, -1:].expand(-1, -1, missing, -1, -1)
        frames, self.waiting = torch.cat((self.waiting, held), dim=2), None
        return [self._encode(frames)]

    def _encode(self, frames: Tensor) -> Tensor:
        features = self.vae.encoder(frames, feat_cache=self.cache, feat_idx=[0])
        self.started = True
        mode: Tensor = self.vae.quant_conv(features).chunk(2, dim=1)[0]
        return mode


class LatentStream(ABC):
    """Decodes one video, handed over in pieces of any length.

    The result does not depend on the pieces, bit for bit: the network always gets one latent, then `latents_per_call`
    at a time.

    Args:
        new_cache: What is remembered before a video begins.
        latents_per_call: More makes fewer, larger calls; the result is the same to rounding.
        cache: See `EncoderStream`.
    """

    def __init__(self, new_cache: Cache, latents_per_call: int, cache: Cache | None) -> None:
        self.cache = new_cache if cache is None else cache
        self.chunk = latents_per_call
        self.waiting: Tensor | None = None
        self.started = cache is not None

    @abstractmethod
    def decode(self, latents: Tensor, *, first: bool) -> Tensor:
        """Frames (1, 3, T', 8 h, 8 w) of the next latents (1, z_dim, T, h, w); `first` begins the video."""

    def feed(self, latents: Tensor) -> list[Tensor]:
        """Frames of latents (1, z_dim, T, h, w).

        Returns:
            Pieces (1, 3, T', 8 h, 8 w), not clamped: one frame for the video's first latent, four for every other.
        """
        waiting = latents if self.waiting is None else torch.cat((self.waiting, latents), dim=2)
        frames = []
        while waiting.shape[2] >= (length := self.chunk if self.started else 1):
            frames.append(self._next(waiting[:, :, :length]))
            waiting = waiting[:, :, length:]
        self.waiting = waiting
        return frames

    def finish(self) -> list[Tensor]:
        """Frames of the latents that did not fill a call."""
        if self.waiting is None or not self.waiting.shape[2]:
            return []
        latents, self.waiting = self.waiting, None
        return [self._next(latents)]

    def _next(self, latents: Tensor) -> Tensor:
        first, self.started = not self.started, True
        return self.decode(latents, first=first)


class DecoderStream(LatentStream):
    """Decodes one video with the VAE: latents not normalised, frames about [-1, 1]; see `LatentStream`."""

    def __init__(
        self, vae: AutoencoderKLWan, latents_per_call: int = 1, cache: Cache | None = None
    ) -> None:
        super().__init__(new_cache(vae.decoder), latents_per_call, cache)
        self.vae = vae

    def decode(self, latents: Tensor, *, first: bool) -> Tensor:
        """See `LatentStream`."""
        features = self.vae.post_quant_conv(latents)
        frames: Tensor = self.vae.decoder(
            features, feat_cache=self.cache, feat_idx=[0], first_chunk=first
        )
        return frames
