"""The sampler of the CogVideoX-based STAR: SDE-DPM-Solver++(2M) on a DDPM schedule that ends in pure noise.

x_t = a x_0 + sqrt(1 - a^2) eps, a the root of the cumulative alpha; the network predicts v = a eps - sqrt(1 - a^2) x_0.
Source: the behaviour of STAR's released sampler (CogVideoX' own), which the tests' fixtures record.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

NUM_TIMESTEPS = 1000
BETA_START, BETA_END = 0.00085, 0.012  # their roots are spaced evenly
DEFAULT_STEPS = 50
DEFAULT_GUIDANCE = 6.0
GUIDANCE_POWER = 5

Network = Callable[[Tensor, int], tuple[Tensor, Tensor | None]]
"""(latents, timestep) -> v with the text, and v without it; None runs without guidance."""
Noise = Callable[[int], Tensor]
"""Step number -> standard normal noise of the latents' shape."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What the sampler does at each of N steps."""

    timesteps: tuple[int, ...]
    """N, falling."""
    alphas: tuple[float, ...]
    """N + 1: a before each step, and 1 after the last."""
    network_alphas: tuple[float, ...]
    """N: a as the network was taught it at the timestep, which differs a little."""


def make_schedule(num_steps: int) -> Schedule:
    """The schedule of `num_steps` steps, evenly spaced down from timestep 999.

    Raises:
        ValueError: Fewer than 1 step, or more than there are timesteps.
    """
    if not 1 <= num_steps <= NUM_TIMESTEPS:
        raise ValueError(f"{num_steps} steps; 1 to {NUM_TIMESTEPS} are possible")
    timesteps = [round(NUM_TIMESTEPS - i * NUM_TIMESTEPS / num_steps) - 1 for i in range(num_steps)]
    # The end is moved to pure noise twice, over the chosen steps and over the whole table; the published sampler
    # steps by the first, and looks up the second's nearest entry for the network.
    chosen = zero_end(plain_alphas()[timesteps])
    taught = taught_alphas()
    nearest = (chosen[:, None] - taught).abs().argmin(1)
    return Schedule(
        timesteps=tuple(timesteps),
        alphas=(*chosen.tolist(), 1.0),
        network_alphas=tuple(taught[nearest].tolist()),
    )


def plain_alphas() -> Tensor:
    """The a of each timestep, (1000,) float64 falling, before its end is moved to pure noise."""
    roots = torch.linspace(BETA_START**0.5, BETA_END**0.5, NUM_TIMESTEPS, dtype=torch.float64)
    return (1 - roots.square()).cumprod(0).sqrt()


def taught_alphas() -> Tensor:
    """The a at which the network was taught, (1000,) float64 rising from 0, which is timestep 999's."""
    return zero_end(plain_alphas().flip(0))


def zero_end(alphas: Tensor) -> Tensor:
    """Rising a, (N,), stretched so that the first is 0 and the last stays; a single one becomes 0."""
    first, last = alphas[0], alphas[-1]
    if len(alphas) == 1:
        return torch.zeros_like(alphas)
    return (alphas - first) * last / (last - first)


def guidance_scale(timestep: int, num_steps: int, strength: float) -> float:
    """The scale at a timestep: 1 + strength (1 - cos(pi ((N - t) / N)^5)) / 2.

    It takes the timestep, up to 999, where the step's number was meant, so it leaps between 1 and 1 + strength; the
    published model was chosen with it.
    """
    phase = math.pi * ((num_steps - timestep) / num_steps) ** GUIDANCE_POWER
    return 1 + strength * (1 - math.cos(phase)) / 2


def sample(
    network: Network,
    latents: Tensor,
    schedule: Schedule,
    noise: Noise,
    *,
    guidance: float = DEFAULT_GUIDANCE,
) -> Tensor:
    """Denoise.

    Args:
        network: See `Network`.
        latents: Standard normal noise, float32, any shape.
        schedule: The steps.
        noise: Asked once for each step but the last.
        guidance: Strength of the text; see `guidance_scale`.

    Returns:
        Clean latents of the same shape.
    """
    before: Tensor | None = None
    length_before = math.inf
    for i, timestep in enumerate(schedule.timesteps):
        with_text, without = network(latents, timestep)
        if without is None:
            velocity = with_text.float()
        else:
            scale = guidance_scale(timestep, len(schedule.timesteps), guidance)
            velocity = torch.lerp(without.float(), with_text.float(), scale)
        signal = schedule.network_alphas[i]
        clean = signal * latents - math.sqrt(1 - signal**2) * velocity
        alpha, next_alpha = schedule.alphas[i], schedule.alphas[i + 1]
        if next_alpha == 1:
            latents = clean
        else:
            length = log_snr(next_alpha) - log_snr(alpha)
            ahead = clean
            if before is not None and math.isfinite(length_before):
                ahead = clean + (clean - before) * (length / (2 * length_before))
            latents = solver_step(latents, ahead, alpha, next_alpha, length) + noise(i) * math.sqrt(
                (1 - next_alpha**2) * -math.expm1(-2 * length)
            )
            before, length_before = clean, length
    return latents


def solver_step(
    latents: Tensor, clean: Tensor, alpha: float, next_alpha: float, length: float
) -> Tensor:
    """The part of a step that is not noise; `length` is its length in half the log of the signal-to-noise ratio."""
    kept = math.sqrt((1 - next_alpha**2) / (1 - alpha**2)) * math.exp(-length)
    return kept * latents - math.expm1(-2 * length) * next_alpha * clean


def log_snr(alpha: float) -> float:
    """Half the log of the signal-to-noise ratio; minus infinity for pure noise."""
    return math.log(alpha / math.sqrt(1 - alpha**2)) if alpha > 0 else -math.inf
