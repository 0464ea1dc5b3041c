"""StarCogVideoXPipeline: one clip in, the same frames larger and sharper out, by the CogVideoX-based STAR."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import AutoencoderKLCogVideoX
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from torch import Tensor

from diffst.given import check_output_type, frames_given, size_given
from diffst.pipeline import OnProgress, OnStage, stage_clock, unwatched
from diffst.pixels import as_float, in_range
from diffst.star.cogvideox import StarCogVideoXTransformer
from diffst.star.cogvideox_sampler import (
    DEFAULT_GUIDANCE,
    DEFAULT_STEPS,
    make_schedule,
    sample,
)
from diffst.star.colour import match_statistics
from diffst.star.names import COGVIDEOX_PIPELINE, MAX_GUIDANCE, MAX_STEPS
from diffst.star.noise import Position, clip_noise
from diffst.star.windows import Pieces, faded_pieces, in_pieces, num_pieces, tile_windows

MAX_FRAMES = 25  # that the weights were taught
FRAMES_PER_LATENT = 4  # after the first, which has a latent of its own
GROUP_LATENTS = (
    2  # that the VAE's decoder takes at once, after the first: it wants 1, 3, 5 or 7 in all
)
VAE_TILE_SHARED = 0.25  # of a side of a tile
DEFAULT_SEED = 666


@dataclass(frozen=True, kw_only=True)
class CogVideoXSettings:
    """How it samples; the defaults are those of the published results.

    Raises:
        ValueError: A value is out of range.
    """

    num_steps: int = DEFAULT_STEPS
    """Of the sampler."""
    guidance: float = DEFAULT_GUIDANCE
    """How strongly the prompt counts; without a prompt, nothing."""
    seed: int = DEFAULT_SEED
    """Of all noise; a frame's noise depends on it and on the frame's place in the video only."""

    def __post_init__(self) -> None:
        most = MAX_STEPS[COGVIDEOX_PIPELINE]
        if not 1 <= self.num_steps <= most:
            raise ValueError(f"{self.num_steps} steps; this STAR takes 1 to {most}")
        if not 0 <= self.guidance <= MAX_GUIDANCE:
            raise ValueError(f"guidance {self.guidance:g}; this STAR takes 0 to {MAX_GUIDANCE}")


class StarCogVideoXPipeline(DiffusionPipeline):  # type: ignore[misc]
    """Video super-resolution in many diffusion steps (STAR, arXiv 2501.02976), on CogVideoX-5B.

    Args:
        transformer: The network; its configured sample size is the one it was taught, in latents.
        vae: CogVideoX'.
    """

    model_cpu_offload_seq = "transformer->vae"

    def __init__(self, transformer: StarCogVideoXTransformer, vae: AutoencoderKLCogVideoX) -> None:
        super().__init__()
        self.register_modules(transformer=transformer, vae=vae)
        self.latent_side = 2 ** (len(vae.config.block_out_channels) - 1)
        self.set_vae_tile(None)

    def set_vae_tile(self, side: int | None) -> None:
        """Take pictures through the VAE in tiles of at most so many pixels a side; None: of the taught size.

        A quarter of each tile is shared with the next. diffusers puts tiles together without a shift only where that
        is a whole number of latents, so sides are multiples of four.
        """
        config = self.transformer.config
        height, width = (
            -(-taught // 4) * 4 for taught in (config.sample_height, config.sample_width)
        )
        if side is not None:
            most = max(side // self.latent_side // 4, 1) * 4
            height, width = min(height, most), min(width, most)
        self.vae.enable_tiling(
            tile_sample_min_height=height * self.latent_side,
            tile_sample_min_width=width * self.latent_side,
            tile_overlap_factor_height=VAE_TILE_SHARED,
            tile_overlap_factor_width=VAE_TILE_SHARED,
        )

    @torch.no_grad()
    def __call__(
        self,
        frames: Tensor,
        size: tuple[int, int],
        text: Tensor | None,
        settings: CogVideoXSettings,
        *,
        positions: Sequence[Position],
        output_type: torch.dtype = torch.float32,
        on_stage: OnStage | None = None,
        on_progress: OnProgress = unwatched,
    ) -> Tensor:
        """Make a clip large and sharp.

        Args:
            frames: (T, 3, H, W) float in [0, 1], uint8 or uint16, T at most `MAX_FRAMES`, on the device to work on.
            size: Output height and width.
            text: (1, L, text width) states of the prompt; None for no prompt, which takes half the time.
            settings: How to sample.
            positions: Each frame's place in the whole video, which decides its noise.
            output_type: torch.float32, range [0, 1], or torch.uint8 or torch.uint16, full range and rounded.
            on_stage: Told the name of each finished stage and the seconds it took.
            on_progress: Told the start of `encode` and `decode`, and of `denoise` how often the network was asked, and
                how often it will be.

        Returns:
            (T, 3, *size) of `output_type`, on the CPU.

        Raises:
            TypeError: The frames are no tensor.
            ValueError: The clip is too long, or the positions are not as many as the frames; frames are of another type
                or shape, or there are none; or pictures of another type are asked for.
        """
        frames = as_float(frames_given(frames))
        check_output_type(output_type)
        size = size_given(size)
        count = len(frames)
        if count > MAX_FRAMES:
            raise ValueError(f"a clip of {count} frames; 1 to {MAX_FRAMES} are possible")
        if len(positions) != count:
            raise ValueError(f"{len(positions)} positions for {count} frames")
        stage = stage_clock(on_stage, frames.device)
        places = latent_places(positions)
        # 1. Enlarge plainly, fill up to what the network takes, and into latents.
        on_progress("encode", 0, count)
        with stage("encode"):
            large = self.fill(enlarge(frames, size))
            rows, columns = (side // self.latent_side for side in large.shape[-2:])
            shape = (self.vae.config.latent_channels, rows, columns)
            poor = self.encode(large, clip_noise(settings.seed, places, "encode", shape))
        # 2. From noise to clean latents, the poor ones beside it.
        with stage("denoise"):
            clean = self.denoise(poor, text, places, settings, on_progress)
        # 3. Back to pictures, without what was filled up; colours as they were.
        on_progress("decode", 0, count)
        with stage("decode"):
            pictures = self.decode(clean)[:count, :, : size[0], : size[1]]
            shown = match_statistics((pictures / 2 + 0.5).clamp(0, 1), frames)
            return in_range(shown, output_type).cpu()

    def fill(self, frames: Tensor) -> Tensor:
        """Repeat the edges, up to the taught size at least, and the last frame, up to whole latents."""
        config = self.transformer.config
        token_side = self.latent_side * config.patch_size
        height, width = frames.shape[-2:]
        taught = (config.sample_height, config.sample_width)
        full_height, full_width = (
            max(-(-side // token_side) * token_side, least * self.latent_side)
            for side, least in zip((height, width), taught, strict=True)
        )
        edges = (0, full_width - width, 0, full_height - height)
        padded = F.pad(frames, edges, mode="replicate")
        missing = FRAMES_PER_LATENT * (num_latents(len(frames)) - 1) + 1 - len(frames)
        return torch.cat((padded, padded[-1:].expand(missing, -1, -1, -1)))

    def encode(self, frames: Tensor, noise: Tensor) -> Tensor:
        """Latents of a clip, drawn from the VAE's distribution.

        Args:
            frames: (T, 3, H, W) in [-1, 1], of a length and size that need not be filled up.
            noise: (1, C, T', h, w) unit noise; decides the sample.

        Returns:
            The shape of `noise`, float32.
        """
        said = self.vae.encode(frames.to(self.vae.dtype).transpose(0, 1).unsqueeze(0)).latent_dist
        drawn = said.mean.float() + said.std.float() * noise.to(frames.device)
        scaled: Tensor = drawn * self.vae.config.scaling_factor
        return scaled

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures of latents, (1, C, T', h, w) -> (T, 3, H, W) float32, about [-1, 1]."""
        scaled = (latents / self.vae.config.scaling_factor).to(self.vae.dtype)
        pictures: Tensor = self.vae.decode(scaled).sample[0].transpose(0, 1).float()
        return pictures

    def denoise(
        self,
        poor: Tensor,
        text: Tensor | None,
        places: Sequence[Position],
        settings: CogVideoXSettings,
        on_progress: OnProgress = unwatched,
    ) -> Tensor:
        """Clean latents of a poor clip's, both (1, C, T', h, w) float32; large pictures in tiles of the taught size."""
        sides = self.pieces(poor)
        kind = self.transformer.dtype
        questions = settings.num_steps * (1 if text is None else 2) * num_pieces(sides)
        asked = itertools.count()
        nothing = self.transformer.no_text().to(poor)

        def velocity(noisy: Tensor, words: Tensor, timestep: int) -> Tensor:
            def piece(place: tuple[slice, slice, slice]) -> Tensor:
                on_progress("denoise", next(asked), questions)
                frames, rows, columns = place
                seen, beside = (
                    whole[:, :, frames, rows, columns].transpose(1, 2).to(kind)
                    for whole in (noisy, poor)
                )
                said = self.transformer.predict(seen, beside, words.to(poor.device, kind), timestep)
                estimate: Tensor = said.float().transpose(1, 2)
                return estimate

            return in_pieces(piece, noisy, sides)

        def network(noisy: Tensor, timestep: int) -> tuple[Tensor, Tensor | None]:
            plain = velocity(noisy, nothing, timestep)
            return (plain, None) if text is None else (velocity(noisy, text, timestep), plain)

        def noise(purpose: str) -> Tensor:
            shape = (poor.shape[1], *poor.shape[3:])
            return clip_noise(settings.seed, places, purpose, shape).to(poor)

        return sample(
            network,
            noise("start"),
            make_schedule(settings.num_steps),
            lambda step: noise(f"step {step}"),
            guidance=settings.guidance,
        )

    def pieces(self, latents: Tensor) -> tuple[Pieces, Pieces, Pieces]:
        """What the network sees at once of (1, C, T', h, w): all of the clip, the taught size of the picture."""
        config = self.transformer.config
        frames, height, width = latents.shape[2:]
        rows, columns = config.sample_height, config.sample_width
        return (
            faded_pieces([(0, frames)]),
            faded_pieces(tile_windows(height, rows, rows % 8)),
            faded_pieces(tile_windows(width, columns, columns % 8)),
        )


def enlarge(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, 3, h, w) float in [0, 1] -> (N, 3, *size) in [-1, 1], bicubic."""
    shrinks = size[0] * size[1] < frames.shape[-2] * frames.shape[-1]
    large = F.interpolate(frames, size=size, mode="bicubic", antialias=shrinks)
    return large.clamp(0, 1) * 2 - 1


def num_latents(num_frames: int) -> int:
    """Latents in time of a clip, filled up to a length that the VAE gives back."""
    groups = -(-(num_frames - 1) // (GROUP_LATENTS * FRAMES_PER_LATENT))
    return GROUP_LATENTS * groups + 1


def latent_places(positions: Sequence[Position]) -> list[Position]:
    """For each latent in time the place of the first frame that it stands for, whose noise it gets.

    Frames that are filled up lie after the last, a keyframe apart.
    """
    last = len(positions) - 1
    firsts = [
        0,
        *range(1, FRAMES_PER_LATENT * (num_latents(len(positions)) - 1), FRAMES_PER_LATENT),
    ]
    return [
        (positions[min(first, last)][0] + max(first - last, 0), positions[min(first, last)][1])
        for first in firsts
    ]
