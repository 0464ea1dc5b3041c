"""STAR's dynamic-frequency loss: the weak part of the spectrum first, the strong part last.

Early in a denoising (t near its maximum) pictures lack their large strong waves, late their faint ones, so the share
of the two in the loss moves with t. Source: STAR (arXiv 2501.02976, section 3.3); the split is by the size of a wave,
as in the released training code, not by its frequency.
"""

from __future__ import annotations

import torch
from torch import Tensor

MAX_TIMESTEP = 999
SHARE_POWER = 2  # alpha of the paper
SCALE = 0.01  # of the released code, so that the loss stands beside the mean squared error of v
WEAK_SHARE = 0.8  # of all waves
MASK_SHARPNESS = 10.0
MAX_COUNTED = 10_000  # waves from which the limit between weak and strong is found


def dynamic_frequency(
    made: Tensor, true: Tensor, timestep: float, *, as_released: bool = False
) -> Tensor:
    """L_DF with its weight, b(t) (c(t) L_weak + (1 - c(t)) L_strong), scaled by 0.01; beta = 1.

    b(t) = 1 - t / 999 and c(t) = (t / 999)^2. Each side is split by its own spectrum.

    Args:
        made: (B, ..., H, W) float in [-1, 1]: what the model makes of B clips, decoded to pixels.
        true: The undamaged clips, same shape.
        timestep: t in [0, 999].
        as_released: Without a gradient, as the released code has it by decoding outside the graph: the loss is shown,
            but teaches nothing.

    Raises:
        ValueError: The shapes differ, or t is out of range.
    """
    if made.shape != true.shape:
        raise ValueError(f"cannot compare {tuple(made.shape)} with {tuple(true.shape)}")
    if not 0 <= timestep <= MAX_TIMESTEP:
        raise ValueError(f"timestep {timestep} is outside 0..{MAX_TIMESTEP}")
    if as_released:
        made = made.detach()
    share = (timestep / MAX_TIMESTEP) ** SHARE_POWER
    losses = []
    for clip, truth in zip(made.float(), true.float(), strict=True):
        (weak, strong), (true_weak, true_strong) = split(clip), split(truth)
        losses.append(
            share * distance(weak, true_weak) + (1 - share) * distance(strong, true_strong)
        )
    return SCALE * (1 - timestep / MAX_TIMESTEP) * torch.stack(losses).mean()


def split(clip: Tensor) -> tuple[Tensor, Tensor]:
    """The spectrum of a clip, (..., H, W) -> twice (..., H, W // 2 + 1) complex: its weak waves and its strong ones.

    A soft mask parts them at the size that 80 % of all waves stay below; it is held fixed for the gradient, as the
    paper's is given beforehand. More than 10,000 waves are judged by as many of them, drawn with torch's own generator.
    """
    spectrum = torch.fft.rfft2(clip)
    sizes = spectrum.detach().abs()
    counted = sizes.flatten()
    if counted.numel() > MAX_COUNTED:
        drawn = torch.randint(counted.numel(), (MAX_COUNTED,), device=counted.device)
        counted = counted[drawn]
    mask = torch.sigmoid(MASK_SHARPNESS * (torch.quantile(counted, WEAK_SHARE) - sizes))
    return spectrum * mask, spectrum * (1 - mask)


def distance(made: Tensor, true: Tensor) -> Tensor:
    """Mean absolute difference of two complex tensors' real and imaginary parts."""
    return torch.view_as_real(made - true).abs().mean()
