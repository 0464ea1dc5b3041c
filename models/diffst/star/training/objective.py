"""What STAR is trained for: the velocity of a noised clip, and the spectrum of what it makes of it.

Source: STAR (arXiv 2501.02976, section 3.3, equation of the total loss): L = L_v + b(t) L_DF.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffst.reach import CONTEXT_KEYFRAMES
from diffst.star.schedule import NUM_LEVELS
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
    """A noised clip, and what the network should say to it; tensors are (1, C, T, h, w) float32."""

    timestep: int
    """In 0..999."""
    alpha: float
    """Share of the picture."""
    noisy: Tensor
    hint: Tensor
    """The damaged clip's latents."""
    velocity: Tensor
    """The right answer, alpha * noise - sigma * x0."""

    def clean(self, said: Tensor) -> Tensor:
        """The picture's latents where `said` is the velocity: alpha * x - sigma * v."""
        return self.alpha * self.noisy - math.sqrt(1 - self.alpha**2) * said


class Learner(Protocol):
    """A pipeline in training: what differs between the two kinds of STAR."""

    network: Any
    """Of diffusers; what of it learns has `requires_grad`."""
    vae: Any
    """Stays as it is."""

    def alpha(self, timestep: int) -> float:
        """Share of the picture in what the network sees at a timestep."""

    def encoded(self, pictures: Tensor) -> Tensor:
        """Latents drawn from the VAE in float32, (F, 3, H, W) in [-1, 1] -> (1, C, T, h, w)."""

    def enlarged(self, pictures: Tensor, size: tuple[int, int]) -> Tensor:
        """(F, 3, h, w) in [0, 1] -> (F, 3, *size) in [-1, 1], as when upscaling."""

    def answer(self, question: Question) -> Tensor:
        """The network's velocity, (1, C, T, h, w) float32."""

    def decoded(self, latents: Tensor) -> tuple[Tensor, slice]:
        """Some frames of (1, C, T, h, w) at a random place, (N, 3, H, W) about [-1, 1], and which they are."""

    def save(self, folder: Path) -> None:
        """Write a model folder with the network as it is now."""


def learning(network: nn.Module) -> dict[str, nn.Parameter]:
    """What of a network learns, by name."""
    return {name: value for name, value in network.named_parameters() if value.requires_grad}


@torch.no_grad()
def question_of(learner: Learner, pair: Pair) -> Question:
    """A clip noised by torch's own generator to any of all 1000 levels, each as likely."""
    true = learner.encoded(pair.high * 2 - 1)
    hint = learner.encoded(learner.enlarged(pair.low, (pair.high.shape[-2], pair.high.shape[-1])))
    timestep = int(torch.randint(NUM_LEVELS, ()))
    noise = torch.randn(true.shape).to(true)
    alpha = learner.alpha(timestep)
    sigma = math.sqrt(1 - alpha**2)
    return Question(
        timestep=timestep,
        alpha=alpha,
        noisy=alpha * true + sigma * noise,
        hint=hint,
        velocity=alpha * noise - sigma * true,
    )


def velocity_loss(said: Tensor, question: Question) -> Tensor:
    """L_v, the mean squared error of the velocity."""
    return F.mse_loss(said, question.velocity)


def frequency_loss(
    learner: Learner, said: Tensor, question: Question, pair: Pair, *, as_released: bool
) -> Tensor:
    """b(t) L_DF of some frames at a random place, decoded together; the authors decode all.

    Args:
        learner: Its VAE decodes, and is not changed.
        said: The network's velocity.
        question: That it answered.
        pair: With the truth.
        as_released: Decode without gradients, so that the loss teaches nothing.
    """
    with torch.set_grad_enabled(not as_released and torch.is_grad_enabled()):
        made, seen = learner.decoded(question.clean(said))
    true = pair.high[seen] * 2 - 1
    return dynamic_frequency(
        made.unsqueeze(0), true.unsqueeze(0), question.timestep, as_released=as_released
    )
