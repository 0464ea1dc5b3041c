"""Pictures to latents and back, a few frames and where needed a tile at a time.

The VAE is that of Stable Video Diffusion, whose decoder sees time. STAR encodes frame by frame and
decodes groups of three frames, each without the others, so memory does not grow with the clip.
"""

from __future__ import annotations

import torch
from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import (
    AutoencoderKLTemporalDecoder,
)
from torch import Tensor

from diffst.star.windows import Pieces, faded_pieces, in_pieces, scaled_windows, tile_windows

FACTOR = 8  # pixels of a latent's side
DECODE_FRAMES = 3  # that the decoder sees together; the published results' number


def encode(
    vae: AutoencoderKLTemporalDecoder, picture: Tensor, noise: Tensor, tile_latents: int
) -> Tensor:
    """A sample of a picture's latent, scaled as the network wants it.

    Args:
        vae: Its encoder in float32, which it needs.
        picture: (1, 3, H, W) float32 in [-1, 1], sides multiples of 8.
        noise: (1, C, H / 8, W / 8) unit noise; decides the sample.
        tile_latents: Most latent rows and columns of one tile.

    Returns:
        (1, C, H / 8, W / 8) float32.
    """

    def piece(place: tuple[slice, slice, slice]) -> Tensor:
        _, rows, columns = place
        seen = picture[:, :, pixels(rows), pixels(columns)]
        posterior = vae.encode(seen).latent_dist
        return torch.stack((posterior.mean, posterior.std), dim=2)

    like = torch.stack((noise, noise), dim=2)
    mean, spread = in_pieces(piece, like, tiles(noise, tile_latents, frames=2)).unbind(2)
    sampled: Tensor = (mean + spread * noise) * vae.config.scaling_factor
    return sampled


def decode(vae: AutoencoderKLTemporalDecoder, latents: Tensor, tile_latents: int) -> Tensor:
    """Pictures of a group of frames that the decoder sees together.

    Args:
        vae: Its decoder in the type to compute in.
        latents: (F, C, h, w) float32, scaled.
        tile_latents: Most latent rows and columns of one tile.

    Returns:
        (F, 3, 8 h, 8 w) float32, about [-1, 1].
    """
    given = (latents / vae.config.scaling_factor).to(vae.decoder.conv_in.weight.dtype)
    frames, _, height, width = latents.shape
    like = latents.new_zeros(1, 3, frames, height * FACTOR, width * FACTOR)

    def piece(place: tuple[slice, slice, slice]) -> Tensor:
        _, rows, columns = place
        seen = given[:, :, latent_range(rows), latent_range(columns)]
        pictures: Tensor = vae.decode(seen, num_frames=frames).sample.float()
        return pictures.transpose(0, 1).unsqueeze(0)

    sides = tiles(latents, tile_latents, frames=frames, factor=FACTOR)
    made: Tensor = in_pieces(piece, like, sides)[0].transpose(0, 1)
    return made


def decoding_type(precision: torch.dtype, device: torch.device) -> torch.dtype:
    """The type that the decoder computes in where the network computes in `precision`.

    bfloat16 keeps 8 bits, too few for smooth skies, so on a GPU float16 takes its place, and elsewhere float32.
    """
    if precision == torch.float32 or (precision == torch.bfloat16 and device.type != "cuda"):
        return torch.float32
    return torch.float16


def tiles(
    latents: Tensor, most: int, *, frames: int, factor: int = 1
) -> tuple[Pieces, Pieces, Pieces]:
    """Pieces of latents (..., h, w), or of pictures `factor` times as large; time is not cut."""
    height, width = (
        faded_pieces(scaled_windows(tile_windows(side, most), factor))
        for side in latents.shape[-2:]
    )
    return faded_pieces([(0, frames)]), height, width


def pixels(latents: slice) -> slice:
    """The pixels of a range of latents."""
    return slice(latents.start * FACTOR, latents.stop * FACTOR)


def latent_range(pixels: slice) -> slice:
    """The latents of a range of pixels."""
    return slice(pixels.start // FACTOR, pixels.stop // FACTOR)
