"""From the noised input to the picture: guidance, and the steps between.

The solver is the second-order multistep DPM-Solver++ for stochastic equations (Lu et al. 2022,
arXiv 2211.01095, in the midpoint form), with all noise replaced at each step (eta = 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor

from diffst.star.schedule import Step

LEAST_STD = 1e-12  # keeps a guided velocity of nothing from dividing by 0


def guide(wanted: Tensor, unwanted: Tensor, *, scale: float, rescale: float) -> Tensor:
    """Move a velocity away from the negative prompt's, then part of the way back to its old spread.

    Args:
        wanted: (B, C, F, h, w), of the prompt.
        unwanted: The same shape, of the negative prompt.
        scale: 1 gives `wanted`.
        rescale: 0 keeps the grown spread, 1 gives that of `wanted` (Lin et al. 2023, section 3.4).
    """
    guided = unwanted + scale * (wanted - unwanted)
    dims = tuple(range(1, wanted.dim()))
    spread = wanted.std(dims, keepdim=True) / (guided.std(dims, keepdim=True) + LEAST_STD)
    return guided * (rescale * spread + (1 - rescale))


def picture_of(noisy: Tensor, velocity: Tensor, step: Step) -> Tensor:
    """x0 = alpha * x - sigma * v."""
    return step.alpha * noisy - step.sigma * velocity


def noised(latent: Tensor, noise: Tensor, step: Step) -> Tensor:
    """The input as far in noise as the first step expects it."""
    return step.alpha * latent + step.sigma * noise


def sample(
    denoise: Callable[[Tensor, Step], Tensor],
    start: Tensor,
    steps: Sequence[Step],
    noise: Callable[[int], Tensor],
) -> Tensor:
    """Take all steps.

    The state is kept as x / alpha, whose noise has the step's ratio. The network gets it divided by
    sqrt(1 + ratio^2); the start is so multiplied by its sigma, as the reference does.

    Args:
        denoise: (noisy latent, step) -> estimate of the clean latent, both (B, C, F, h, w).
        start: The noised input, (B, C, F, h, w) float32.
        steps: From most noise to least.
        noise: Unit noise of the start's shape to add at the end of step i.

    Returns:
        The clean latent, the same shape.
    """
    state = start if math.isinf(steps[0].ratio) else start * steps[0].ratio
    before: Tensor | None = None
    length_before = 0.0
    for number, step in enumerate(steps):
        # 1. What the clean latent looks like from here.
        seen = state if math.isinf(step.ratio) else state / math.sqrt(1 + step.ratio**2)
        clean = denoise(seen, step)
        if number == len(steps) - 1:
            return clean
        ratio = steps[number + 1].ratio
        if math.isinf(step.ratio):  # from pure noise there is no length yet: straight on
            state = clean + ratio * state
            continue
        # 2. On to the next level, along the line through the last two estimates.
        length = math.log(step.ratio / ratio)
        share = 1 - math.exp(-2 * length)
        state = ratio / step.ratio * math.exp(-length) * state + share * clean
        if before is not None and length_before > 0:
            state = state + share / 2 * (length / length_before) * (clean - before)
        # 3. Fresh noise for what was taken.
        state = state + noise(number) * (ratio * math.sqrt(share))
        before, length_before = clean, length
    raise ValueError("no steps")
