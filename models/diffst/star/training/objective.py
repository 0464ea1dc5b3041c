"""What STAR is trained for: the velocity of a noised clip, and the spectrum of what it makes of it.

Source: STAR (arXiv 2501.02976, section 3.3, equation of the total loss): L = L_v + b(t) L_DF.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from diffst.star.frames import enlarge
from diffst.star.pipeline import StarPipeline
from diffst.star.sampler import noised, picture_of
from diffst.star.schedule import NUM_LEVELS, Step, step_at
from diffst.star.vae import FACTOR, decode, encode
from diffst.training.dataset import CONTEXT_KEYFRAMES
from diffst.training.frequency import dynamic_frequency
from diffst.training.windows import Batch


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A damaged clip and the truth, on the device."""

    low: Tensor
    """(F, 3, h, w) float32 in [0, 1]."""
    high: Tensor
    """(F, 3, 4h, 4w) float32 in [0, 1], sides that the network takes without padding."""


def pairs_of(batch: Batch, size: tuple[int, int], device: torch.device) -> list[Pair]:
    """The clips of a batch: its keyframes that have a truth, their upper left part.

    Args:
        batch: Of the data set.
        size: Height and width of the part at high resolution.
        device: To bring them to.
    """
    height, width = size
    factor = batch.targets.shape[-1] // batch.keyframes.shape[-1]
    inner = slice(CONTEXT_KEYFRAMES, batch.keyframes.shape[1] - CONTEXT_KEYFRAMES)
    low = batch.keyframes[:, inner, :, : height // factor, : width // factor]
    high = batch.targets[:, ::2, :, :height, :width]  # those between keyframes are left out
    return [
        Pair(low=few.to(device).float() / 255, high=many.to(device).float() / 255)
        for few, many in zip(low, high, strict=True)
    ]


@dataclass(frozen=True, kw_only=True)
class Question:
    """A noised clip, and what the network should say to it; all (1, C, F, h, w) float32."""

    step: Step
    noisy: Tensor
    hint: Tensor
    velocity: Tensor
    """The right answer, alpha * noise - sigma * x0."""


@torch.no_grad()
def question_of(pipeline: StarPipeline, pair: Pair) -> Question:
    """A clip noised by torch's own generator to any of all 1000 levels, each as likely.

    The damaged clip is enlarged as the pipeline will do it, where the authors' data were enlarged by bicubic weights.
    """
    true = encoded(pipeline, pair.high * 2 - 1)
    hint = encoded(pipeline, enlarge(pair.low, (pair.high.shape[-2], pair.high.shape[-1])))
    step = step_at(int(torch.randint(NUM_LEVELS, ())))
    noise = torch.randn(true.shape).to(true)
    return Question(
        step=step,
        noisy=noised(true, noise, step),
        hint=hint,
        velocity=step.alpha * noise - step.sigma * true,
    )


def encoded(pipeline: StarPipeline, pictures: Tensor) -> Tensor:
    """Latents drawn from the VAE, (F, 3, H, W) in [-1, 1] -> (1, C, F, h, w), frame by frame in float32."""
    height, width = (side // FACTOR for side in pictures.shape[-2:])
    latents = []
    with torch.autocast(pictures.device.type, enabled=False):
        for picture in pictures.split(1):
            noise = torch.randn(1, pipeline.vae.config.latent_channels, height, width).to(picture)
            latents.append(encode(pipeline.vae, picture, noise, max(height, width)))
    return torch.stack(latents, dim=2)


def answer(pipeline: StarPipeline, question: Question, text: Tensor) -> Tensor:
    """The network's velocity, (1, C, F, h, w) float32; `text` is (1, L, D)."""
    timesteps = torch.tensor([question.step.timestep], device=text.device)
    said: Tensor = pipeline.unet(question.noisy, timesteps, text, question.hint)
    return said.float()


def velocity_loss(said: Tensor, question: Question) -> Tensor:
    """L_v, the mean squared error of the velocity."""
    return F.mse_loss(said, question.velocity)


def frequency_loss(
    pipeline: StarPipeline,
    said: Tensor,
    question: Question,
    pair: Pair,
    *,
    num_frames: int,
    as_released: bool,
) -> Tensor:
    """b(t) L_DF of some frames at a random place, decoded together.

    Args:
        pipeline: Its VAE decodes, and is not changed.
        said: The network's velocity.
        question: That it answered.
        pair: With the truth.
        num_frames: To decode; the authors decode all, three at a time.
        as_released: Decode without gradients, so that the loss teaches nothing.
    """
    first = int(torch.randint(len(pair.high) - num_frames + 1, ()))
    seen = slice(first, first + num_frames)
    with torch.set_grad_enabled(not as_released and torch.is_grad_enabled()):
        clean = picture_of(question.noisy, said, question.step)[0, :, seen].transpose(0, 1)
        made = decode(pipeline.vae, clean, max(clean.shape[-2:]))
    true = pair.high[seen] * 2 - 1
    return dynamic_frequency(
        made.unsqueeze(0), true.unsqueeze(0), question.step.timestep, as_released=as_released
    )
