"""STAR's noise levels and the timesteps at which it is asked.

A noisy latent is alpha * x0 + sigma * noise with alpha^2 + sigma^2 = 1. The log signal-to-noise
ratio falls along a cosine schedule, shifted for the size of the pictures (Hoogeboom et al. 2023,
arXiv 2301.11093, "interpolated" between shifts by 2 and by 4), and is stretched so that the last
level is pure noise (Lin et al. 2023, arXiv 2305.08891).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

NUM_LEVELS = 1000
START_TIMESTEP = 899  # the published weights start from the noised input, not from pure noise
LOG_SNR_RANGE = 15.0  # on both sides of 0, before the shifts
SHIFTS = (2.0, 4.0)  # at the least and at the most noise
# The published list: few steps where there is little to see yet, then more.
COARSE_STEPS, FINE_STEPS, FINE_START = 4, 11, 500


@dataclass(frozen=True, kw_only=True)
class Step:
    """One question to the network."""

    timestep: int
    """What the network is told, 0..999."""
    ratio: float
    """sigma / alpha of the state before the step; infinite at pure noise."""

    @property
    def sigma(self) -> float:
        """Share of noise in what the network sees."""
        return noise_levels()[self.timestep]

    @property
    def alpha(self) -> float:
        """Share of the picture."""
        return math.sqrt(1 - self.sigma**2)


@functools.cache
def noise_levels() -> tuple[float, ...]:
    """Sigma of each timestep, rising to exactly 1."""
    low, high = math.atan(math.exp(-LOG_SNR_RANGE / 2)), math.atan(math.exp(LOG_SNR_RANGE / 2))
    raw = []
    for level in range(NUM_LEVELS):
        part = level / (NUM_LEVELS - 1)
        cosine = -2 * math.log(math.tan(low + part * (high - low)))
        shift = (1 - part) * math.log(SHIFTS[0]) + part * math.log(SHIFTS[1])
        raw.append(1 / math.sqrt(1 + math.exp(cosine - 2 * shift)))
    stretch = (1 - raw[0]) / (raw[-1] - raw[0])
    stretched = [raw[0] + stretch * (sigma - raw[0]) for sigma in raw]
    return (*stretched[:-1], 1.0)


def noise_ratio(timestep: float) -> float:
    """Share of noise by share of picture; between whole timesteps its logarithm is linear."""

    def at(level: int) -> float:
        sigma = noise_levels()[level]
        return sigma / math.sqrt(1 - sigma**2) if sigma < 1 else math.inf

    below = math.floor(timestep)
    part = timestep - below
    return at(below) if part == 0 else at(below) ** (1 - part) * at(below + 1) ** part


def published_steps(start: int = START_TIMESTEP) -> list[Step]:
    """The 14 steps that STAR was published with: 4 from `start` down, and from 500 down 10 more."""
    stride = (start - FINE_START + 1) / COARSE_STEPS
    coarse = [start - stride * k for k in range(COARSE_STEPS)]
    # Of the fine ones the last is left out: from there the picture is taken as it is.
    fine = [FINE_START - (FINE_START + 1) / FINE_STEPS * k for k in range(FINE_STEPS - 1)]
    return [step_at(timestep) for timestep in (*coarse, *fine)]


def even_steps(num_steps: int, start: int = START_TIMESTEP) -> list[Step]:
    """`num_steps` steps at even distances.

    Raises:
        ValueError: There are none, or more than levels.
    """
    if not 1 <= num_steps <= start:
        raise ValueError(f"{num_steps} steps; at least 1 and at most {start} can be taken")
    stride = (start + 1) / (num_steps + 1)
    return [step_at(start - stride * k) for k in range(num_steps)]


def step_at(timestep: float) -> Step:
    """The step at a timestep, whole for the network only; halves round to the even one."""
    return Step(timestep=round(timestep), ratio=noise_ratio(timestep))
