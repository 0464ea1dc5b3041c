"""WanCodec: the frozen Wan VAE as DiffST uses it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn

from diffst.codec import finish, resize
from diffst.wan.sizes import PIXEL_MULTIPLE
from diffst.wan.tiny_decoder import TinyDecoder, TinyStream
from diffst.wan.vae_stream import Cache, DecoderStream, EncoderStream, LatentStream

FRAMES_AT_ONCE = 4  # enlarged together; what the VAE takes in one call


@dataclass(frozen=True, kw_only=True)
class WanEncoded:
    """A clip inside the codec."""

    latents: Tensor
    """(T, C, h, w) float32, normalised: about 0 in mean and 1 in spread over many videos; h and w are even."""
    num_frames: int
    """That went in: 4 (T - 1) + 1 or up to three fewer."""
    size: tuple[int, int]
    """Height and width of the pictures that shall come out."""


class WanCodec(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Pictures to normalised latents and back, through `AutoencoderKLWan`.

    It enlarges first and pads the enlarged picture to multiples of 16, so that padding does not disturb the
    enlargement; holds the last frame until the last latent is full; takes the posterior's mode, so that the same input
    gives the same output; and cuts off what it added.

    Args:
        base_dim: Width of the VAE at full resolution.
        z_dim: Channels of the latents.
        dim_mult: Width at each resolution, in units of `base_dim`.
        num_res_blocks: Residual blocks at each resolution.
        temperal_downsample: Where time is halved; diffusers' spelling.
        latents_mean: Of each channel; None takes Wan2.1's.
        latents_std: Likewise.
    """

    @register_to_config
    def __init__(
        self,
        base_dim: int = 96,
        z_dim: int = 16,
        dim_mult: tuple[int, ...] = (1, 2, 4, 4),
        num_res_blocks: int = 2,
        temperal_downsample: tuple[bool, ...] = (False, True, True),
        latents_mean: tuple[float, ...] | None = None,
        latents_std: tuple[float, ...] | None = None,
    ) -> None:
        super().__init__()
        constants = {"latents_mean": latents_mean, "latents_std": latents_std}
        self.vae = AutoencoderKLWan(
            base_dim=base_dim,
            z_dim=z_dim,
            dim_mult=list(dim_mult),
            num_res_blocks=num_res_blocks,
            temperal_downsample=list(temperal_downsample),
            **{name: list(value) for name, value in constants.items() if value is not None},
        )
        self.tiny_decoder: TinyDecoder | None = None

    def encode(
        self,
        frames: Tensor,
        context: Tensor,  # noqa: ARG002  (nano's codec looks at the neighbours; here the VAE sees time itself)
        size: tuple[int, int],
    ) -> WanEncoded:
        """Latents of a whole clip; the enlarged clip is never held as a whole.

        Args:
            frames: (T, 3, H, W) float in [0, 1], in time order, of one shot.
            context: Not looked at.
            size: Output height and width.
        """
        encoder = WanEncoder(self, size)
        latents = torch.cat([*encoder.feed(frames), *encoder.finish()])
        return WanEncoded(latents=latents, num_frames=len(frames), size=size)

    def decode(
        self, latents: Tensor, encoded: WanEncoded, output_type: torch.dtype = torch.float32
    ) -> Tensor:
        """Frames (T, 3, height, width) of `output_type`: float32, about [0, 1] and not clamped, or full-range codes."""
        decoder = self.decoder(encoded.size)
        pieces = itertools.chain(decoder.feed(latents), decoder.finish())
        frames = torch.cat([finish(piece, output_type) for piece in pieces])
        return frames[: encoded.num_frames]

    def decoder(
        self, size: tuple[int, int], latents_per_call: int = 1, cache: Cache | None = None
    ) -> WanDecoder:
        """A decoder for one shot whose pictures shall have a height and a width; see `EncoderStream` for the rest."""
        kind = WanDecoder if self.tiny_decoder is None else TinyWanDecoder
        return kind(self, size, latents_per_call, cache)

    def take_tiny_decoder(self, decoder: TinyDecoder) -> None:
        """Decode with this one from now on; the VAE's own is given up, so the codec cannot be saved any more.

        Raises:
            ValueError: It is for latents of other channels.
        """
        if decoder.config.latent_channels != self.config.z_dim:
            raise ValueError(
                f"a decoder of {decoder.config.latent_channels} channels does not fit latents of {self.config.z_dim}"
            )
        self.tiny_decoder = nn.Module.to(decoder, dtype=self.dtype)
        self.vae.decoder, self.vae.post_quant_conv = nn.Identity(), nn.Identity()

    def normalisation(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel, (C, 1, 1) float32, on the device of `like`."""
        mean, deviation = (
            torch.tensor(values, dtype=torch.float32, device=like.device).view(-1, 1, 1)
            for values in (self.vae.config.latents_mean, self.vae.config.latents_std)
        )
        return mean, deviation

    @apply_forward_hook
    def encode_piece(self, stream: EncoderStream, frames: Tensor | None) -> list[Tensor]:
        """Feed a stream, or finish it with None; as one call so that an offloaded codec is brought in."""
        return stream.finish() if frames is None else stream.feed(frames)

    @apply_forward_hook
    def decode_piece(self, stream: LatentStream, latents: Tensor | None) -> list[Tensor]:
        """Likewise for decoding."""
        return stream.finish() if latents is None else stream.feed(latents)


class WanEncoder:
    """Encodes one shot handed over in pieces: enlarge, pad, [-1, 1], VAE, normalise."""

    def __init__(
        self,
        codec: WanCodec,
        size: tuple[int, int],
        latents_per_call: int = 1,
        area: tuple[slice, slice] = (slice(None), slice(None)),
        cache: Cache | None = None,
    ) -> None:
        """Take `area`, rows and columns of the padded picture, out of each picture; go on from `cache`."""
        self.codec = codec
        self.size = size
        self.area = area
        self.stream = EncoderStream(codec.vae, latents_per_call, cache)

    def feed(self, frames: Tensor) -> Iterator[Tensor]:
        """(T, 3, H, W) float in [0, 1] -> pieces (T', C, h, w) float32, as soon as they are complete."""
        for some in frames.split(FRAMES_AT_ONCE):
            latents = self.codec.encode_piece(self.stream, self.enlarged(some))
            yield from map(self.normalised, latents)

    def finish(self) -> Iterator[Tensor]:
        """The last pieces."""
        yield from map(self.normalised, self.codec.encode_piece(self.stream, None))

    def enlarged(self, frames: Tensor) -> Tensor:
        """(T, 3, H, W) float in [0, 1] -> (1, 3, T, height, width) of the area as the VAE takes it."""
        rows, columns = self.area
        pictures = pad(resize(frames.float(), self.size).clamp(0.0, 1.0))[..., rows, columns]
        return (pictures * 2.0 - 1.0).to(self.codec.dtype).transpose(0, 1).unsqueeze(0)

    def normalised(self, latents: Tensor) -> Tensor:
        """(1, C, T, h, w) of the VAE -> (T, C, h, w) float32: (latents - mean) / deviation."""
        mean, deviation = self.codec.normalisation(latents)
        return (latents[0].transpose(0, 1).float() - mean) / deviation


class WanDecoder:
    """Decodes one shot handed over in pieces; the reverse of `WanEncoder`."""

    def __init__(
        self,
        codec: WanCodec,
        size: tuple[int, int],
        latents_per_call: int = 1,
        cache: Cache | None = None,
    ) -> None:
        self.codec = codec
        self.size = size
        self.stream = self.new_stream(latents_per_call, cache)

    def feed(self, latents: Tensor) -> Iterator[Tensor]:
        """(T, C, h, w) normalised -> pieces (T', 3, height, width) float32, about [0, 1], not clamped."""
        given = self.given(latents.float()).to(self.codec.dtype)
        # One at a time, so that frames are given out before the next are made.
        for latent in given.split(1):
            video = latent.transpose(0, 1).unsqueeze(0)
            yield from map(self.pictures, self.codec.decode_piece(self.stream, video))

    def finish(self) -> Iterator[Tensor]:
        """The last pieces."""
        yield from map(self.pictures, self.codec.decode_piece(self.stream, None))

    def pictures(self, video: Tensor) -> Tensor:
        """(1, 3, T, H, W) of the network -> (T, 3, height, width) float32, about [0, 1], without padding."""
        height, width = self.size
        return self.rescaled(video[0].transpose(0, 1)[..., :height, :width].float())

    def new_stream(self, latents_per_call: int, cache: Cache | None) -> LatentStream:
        """The network with what it remembers of this shot."""
        return DecoderStream(self.codec.vae, latents_per_call, cache)

    def given(self, latents: Tensor) -> Tensor:
        """Normalised latents as the network wants them."""
        mean, deviation = self.codec.normalisation(latents)
        return latents * deviation + mean

    def rescaled(self, frames: Tensor) -> Tensor:
        """What the network makes, about [-1, 1], as about [0, 1]; not clamped."""
        return (frames + 1.0) / 2.0


class TinyWanDecoder(WanDecoder):
    """The same with the small decoder, whose latents stay normalised and whose pictures are in [0, 1]."""

    def new_stream(self, latents_per_call: int, cache: Cache | None) -> LatentStream:
        """See `WanDecoder`."""
        assert self.codec.tiny_decoder is not None
        return TinyStream(self.codec.tiny_decoder, latents_per_call, cache)

    def given(self, latents: Tensor) -> Tensor:
        """See `WanDecoder`."""
        return latents

    def rescaled(self, frames: Tensor) -> Tensor:
        """See `WanDecoder`."""
        return frames


def padded_size(size: tuple[int, int]) -> tuple[int, int]:
    """Both sides at the next multiple of what VAE and transformer take."""
    height, width = (-(-side // PIXEL_MULTIPLE) * PIXEL_MULTIPLE for side in size)
    return height, width


def pad(frames: Tensor) -> Tensor:
    """Repeat the last row and column of (T, 3, H, W) up to the padded size."""
    height, width = frames.shape[-2:]
    high, wide = padded_size((height, width))
    return F.pad(frames, (0, wide - width, 0, high - height), mode="replicate")
