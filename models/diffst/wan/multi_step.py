"""What one step is measured against: the stock text-to-video sampling of Wan2.1, many steps with guidance.

Source: `WanPipeline.__call__` of diffusers 0.42.1, without its text encoder, which runs once and is
not what is compared; that class itself needs `transformers` to be imported.
"""

from __future__ import annotations

import torch
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from torch import Tensor

from diffst.pipeline import OnStage, stage_clock
from diffst.pixels import to_integer
from diffst.wan.codec import padded_size
from diffst.wan.pipeline import DiffSTWanPipeline
from diffst.wan.sizes import SPACE_STRIDE, TIME_STRIDE

TEXT_ROWS = 512  # the prompt is padded to as many
GUIDANCE_SCALE = 5.0  # stock
FLOW_SHIFT = 3.0  # of the published folder's scheduler


def stock_scheduler() -> UniPCMultistepScheduler:
    """The scheduler of Wan2.1's published folder."""
    return UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=FLOW_SHIFT
    )


@torch.no_grad()
def sample(
    pipeline: DiffSTWanPipeline,
    size: tuple[int, int],
    num_frames: int,
    num_steps: int,
    *,
    seed: int = 0,
    on_stage: OnStage | None = None,
) -> Tensor:
    """Make a clip from noise with a pipeline's own transformer and VAE, called as the stock pipeline calls them.

    Args:
        pipeline: Its transformer and VAE, without levers, are those of Wan; the rest is not used.
        size: Height and width.
        num_frames: Rounded up to 4 k + 1 inside.
        num_steps: Two calls of the transformer each: with the prompt and without.
        seed: Of the noise, and of what stands for the texts.
        on_stage: Told `dit` and `decode` with their seconds.

    Returns:
        (num_frames, 3, height, width) uint8.
    """
    transformer, vae = pipeline.transformer, pipeline.codec.vae
    device, dtype = transformer.device, transformer.patch_embedding.weight.dtype
    stage = stage_clock(on_stage, device)
    num_latents = 1 + -(-(num_frames - 1) // TIME_STRIDE)
    sides = [side // SPACE_STRIDE for side in padded_size(size)]
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(1, vae.config.z_dim, num_latents, *sides, generator=generator).to(device)
    texts = torch.randn(2, TEXT_ROWS, transformer.config.text_dim, generator=generator)
    with stage("dit"):
        latents = denoise(pipeline, noise, texts.to(device, dtype), num_steps)
    with stage("decode"):
        mean, deviation = (values.unsqueeze(1) for values in pipeline.codec.normalisation(latents))
        video = vae.decode((latents * deviation + mean).to(vae.dtype), return_dict=False)[0]
    frames = video[0].transpose(0, 1)[:num_frames, :, : size[0], : size[1]].float()
    return to_integer((frames + 1.0) / 2.0, torch.uint8)


def denoise(pipeline: DiffSTWanPipeline, noise: Tensor, texts: Tensor, num_steps: int) -> Tensor:
    """Normalised latents from noise (1, C, T, h, w) float32.

    Args:
        pipeline: Of which the transformer.
        noise: Where it begins.
        texts: (2, TEXT_ROWS, text_dim): the prompt's states and the negative prompt's, in the transformer's type.
        num_steps: Of the scheduler.
    """
    transformer, scheduler = pipeline.transformer, stock_scheduler()
    scheduler.set_timesteps(num_steps, device=noise.device)
    scheduler.set_begin_index(0)
    latents = noise
    for timestep in scheduler.timesteps:
        prompted, plain = (
            transformer(
                hidden_states=latents.to(texts.dtype),
                timestep=timestep.expand(len(latents)),
                encoder_hidden_states=text.unsqueeze(0),
                return_dict=False,
            )[0]
            for text in texts
        )
        velocity = plain + GUIDANCE_SCALE * (prompted - plain)
        (latents,) = scheduler.step(velocity, timestep, latents, return_dict=False)
    return latents
