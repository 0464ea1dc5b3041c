"""StarPipeline: one clip in, the same frames larger and sharper out."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import (
    AutoencoderKLTemporalDecoder,
)
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from torch import Tensor

from diffst.given import check_output_type, frames_given, size_given
from diffst.pipeline import OnProgress, OnStage, stage_clock, unwatched
from diffst.pixels import as_float, in_range
from diffst.star.colour import match_statistics
from diffst.star.frames import LEAST_SIZE, Padding, enlarge, padding_of
from diffst.star.network import StarUNet
from diffst.star.noise import Position, clip_noise, frame_noise
from diffst.star.sampler import guide, noised, picture_of, sample
from diffst.star.schedule import Step, even_steps, published_steps
from diffst.star.settings import StarSettings
from diffst.star.vae import FACTOR, decode, encode
from diffst.star.windows import (
    HEIGHT_REMAINDER,
    Pieces,
    cut_pieces,
    faded_pieces,
    frame_windows,
    in_pieces,
    num_pieces,
    tile_windows,
)

GUIDANCE_RESCALE = 0.2  # how much of the spread that guidance adds is taken back, as published


class StarPipeline(DiffusionPipeline):  # type: ignore[misc]
    """Video super-resolution in many diffusion steps (STAR, arXiv 2501.02976).

    Args:
        unet: The network.
        vae: Stable Video Diffusion's.
        least_size: Height and width that smaller pictures are padded to.
    """

    model_cpu_offload_seq = "unet->vae"

    def __init__(
        self,
        unet: StarUNet,
        vae: AutoencoderKLTemporalDecoder,
        least_size: tuple[int, int] = LEAST_SIZE,
    ) -> None:
        super().__init__()
        self.register_modules(unet=unet, vae=vae)
        self.register_to_config(least_size=tuple(least_size))

    @torch.no_grad()
    def __call__(
        self,
        frames: Tensor,
        size: tuple[int, int],
        text: Tensor,
        settings: StarSettings,
        *,
        positions: Sequence[Position] | None = None,
        output_type: torch.dtype = torch.float32,
        on_stage: OnStage | None = None,
        on_progress: OnProgress = unwatched,
    ) -> Tensor:
        """Enlarge a clip.

        Args:
            frames: (F, 3, H, W) float in [0, 1], uint8 or uint16, of one shot, in time order, on the device to run on.
            size: Output height and width in pixels.
            text: (2, L, D) float: states of the prompt and of the negative prompt.
            settings: How to sample.
            positions: Each frame's place in the whole video, which its noise depends on; None counts from 0.
            output_type: torch.float32, range [0, 1], or torch.uint8 or torch.uint16, full range and rounded.
            on_stage: Told the name of each finished stage and the seconds it took; a stage may report many times.
            on_progress: Told how many frames of `encode` and `decode` are done, and of `denoise` how often the network
                was asked, and how often it will be; both prompts are one question.

        Returns:
            (F, 3, *size) of `output_type`, on the CPU.

        Raises:
            TypeError: The frames are no tensor.
            ValueError: There are not as many positions as frames; frames are of another type or shape, or there are
                none; or pictures of another type are asked for.
        """
        frames = as_float(frames_given(frames))
        check_output_type(output_type)
        size = size_given(size)
        places = [(n, 0.0) for n in range(len(frames))] if positions is None else list(positions)
        if len(places) != len(frames):
            raise ValueError(f"{len(places)} positions for {len(frames)} frames")
        stage = stage_clock(on_stage, frames.device)
        padding = padding_of(size, tuple(self.config.least_size))
        # 1. Enlarge plainly, pad, and into latents, frame by frame.
        with stage("encode"):
            latent = self.encode(frames, size, padding, places, settings, on_progress)
        # 2. Noise it almost away, and find the picture again, guided by the text and the latent itself.
        with stage("denoise"):
            clean = self.sample(latent, text, places, settings, on_progress)
        # 3. Back to pictures, a few frames at a time; colours as they were.
        made = torch.empty(len(frames), 3, *size, dtype=output_type)
        for start in range(0, len(frames), settings.decode_frames):
            on_progress("decode", start, len(frames))
            group = slice(start, start + settings.decode_frames)
            with stage("decode"):
                pictures = self.decode(clean[0, :, group].transpose(0, 1), settings)
                shown = (padding.crop(pictures) / 2 + 0.5).clamp(0, 1)
                fixed = match_statistics(shown, frames[group])
                made[group] = in_range(fixed, output_type).cpu()
        return made

    def encode(
        self,
        frames: Tensor,
        size: tuple[int, int],
        padding: Padding,
        positions: Sequence[Position],
        settings: StarSettings,
        on_progress: OnProgress = unwatched,
    ) -> Tensor:
        """Latents of the enlarged clip, (1, C, F, h, w) float32."""
        latents: list[Tensor] = []
        for frame, position in zip(frames.split(1), positions, strict=True):
            on_progress("encode", len(latents), len(frames))
            picture = padding.pad(enlarge(frame, size))
            height, width = (side // FACTOR for side in picture.shape[-2:])
            shape = (1, self.vae.config.latent_channels, height, width)
            noise = frame_noise(settings.seed, position, "encode", shape).to(picture)
            tile = settings.vae_tile_latents or max(height, width)
            latents.append(encode(self.vae, picture, noise, tile))
        return torch.stack(latents, dim=2)

    def sample(
        self,
        latent: Tensor,
        text: Tensor,
        positions: Sequence[Position],
        settings: StarSettings,
        on_progress: OnProgress = unwatched,
    ) -> Tensor:
        """The clean latent of a clip from its low-resolution one; both (1, C, F, h, w) float32."""
        channels, _, height, width = latent.shape[1:]
        steps = published_steps() if settings.num_steps is None else even_steps(settings.num_steps)
        sides = self.pieces(latent, settings)
        questions, asked = len(steps) * num_pieces(sides), itertools.count()

        def noise(purpose: str) -> Tensor:
            shape = (channels, height, width)
            return clip_noise(settings.seed, positions, purpose, shape).to(latent)

        def denoise(noisy: Tensor, step: Step) -> Tensor:
            def piece(place: tuple[slice, slice, slice]) -> Tensor:
                part = (..., *place)
                on_progress("denoise", next(asked), questions)
                return self.denoise(noisy[part], latent[part], text, step, settings)

            return in_pieces(piece, noisy, sides)

        start = noised(latent, noise("start"), steps[0])
        return sample(denoise, start, steps, lambda number: noise(f"step {number}"))

    def denoise(
        self, noisy: Tensor, hint: Tensor, text: Tensor, step: Step, settings: StarSettings
    ) -> Tensor:
        """One guided estimate of the clean latent; all (1, C, F, h, w) float32."""
        timesteps = torch.tensor([step.timestep], device=noisy.device)
        kind = self.unet.dtype
        states = text.to(device=noisy.device, dtype=kind)

        def velocity(prompt: Tensor) -> Tensor:
            said: Tensor = self.unet(noisy.to(kind), timesteps, prompt, hint.to(kind))
            return said.float()

        wanted = velocity(states[:1])
        if settings.guidance == 1:
            return picture_of(noisy, wanted, step)
        unwanted = velocity(states[1:])
        guided = guide(wanted, unwanted, scale=settings.guidance, rescale=GUIDANCE_RESCALE)
        return picture_of(noisy, guided, step)

    def pieces(self, latent: Tensor, settings: StarSettings) -> tuple[Pieces, Pieces, Pieces]:
        """What the network sees at once, along frames, rows and columns."""
        num_frames, height, width = latent.shape[2:]
        windows = frame_windows(num_frames, settings.window_frames)
        rows, columns = settings.tile_latents or (height, width)
        return (
            cut_pieces(windows) if settings.windows == "cut" else faded_pieces(windows),
            faded_pieces(tile_windows(height, rows, HEIGHT_REMAINDER)),
            faded_pieces(tile_windows(width, columns)),
        )

    def decode(self, latents: Tensor, settings: StarSettings) -> Tensor:
        """Padded pictures of a few frames' latents, (N, C, h, w) -> (N, 3, 8 h, 8 w), about [-1, 1]."""
        tile = settings.vae_tile_latents or max(latents.shape[-2:])
        return decode(self.vae, latents, tile)
