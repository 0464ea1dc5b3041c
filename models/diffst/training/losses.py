"""The training losses of DiffST's figure: latent, reconstruction, perceptual, consistency.

All pictures are float RGB about [0, 1]. The perceptual term needs no downloaded network: it
compares spectra, which, unlike a pixel distance, does not reward blur.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

CHARBONNIER_EPSILON = 1e-3
# Analogue BT.709 luma and colour differences; errors are seen, and measured, in luma first.
TO_YCBCR = ((0.2126, 0.7152, 0.0722), (-0.1146, -0.3854, 0.5), (0.5, -0.4542, -0.0458))
CHROMA_WEIGHT = 0.5
LEAST_SQUARE = 1e-5  # 50 dB; beyond it there is nothing to win
COARSE_SIDES = (8, 64)  # pixels
COARSE_WEIGHT = 0.5


def to_ycbcr(frames: Tensor) -> Tensor:
    """(..., 3, H, W) RGB -> luma and weighted colour differences, same shape, float32; linear: errors too."""
    matrix = torch.tensor(TO_YCBCR, device=frames.device)
    weight = torch.tensor([1.0, CHROMA_WEIGHT, CHROMA_WEIGHT], device=frames.device)
    # Autocast would have this product in bfloat16, whose 8 bits are no measure of an error and which no FFT takes.
    with torch.autocast(frames.device.type, enabled=False):
        turned: Tensor = torch.einsum("yc,...chw->...yhw", matrix * weight[:, None], frames.float())
    return turned


def charbonnier(difference: Tensor) -> Tensor:
    """A smooth absolute value, mean over all elements: sqrt(d^2 + eps^2)."""
    return torch.sqrt(difference.square() + CHARBONNIER_EPSILON**2).mean()


def reconstruction(error: Tensor) -> Tensor:
    """L_rec: Charbonnier distance of pixels and of their means over 8 x 8 and 64 x 64.

    The coarse terms hold brightness and colour: a shift of half a code, all over a picture, is lost
    among the errors of single pixels, and a network that is left to it drifts.

    Args:
        error: (..., 3, H, W) as `to_ycbcr` gives them, H and W at least 64.
    """
    flat = error.flatten(0, -4)
    coarse = [charbonnier(F.avg_pool2d(flat, side)) for side in COARSE_SIDES]
    return charbonnier(flat) + COARSE_WEIGHT * sum(coarse, torch.zeros_like(coarse[0]))


def decibels(error: Tensor) -> Tensor:
    """Mean over windows and frames of log10 of the luma's mean squared error, PSNR turned round and without its 10.

    Every frame counts by the share of its error that is removed, so smooth and easy ones are not drowned by busy ones.

    Args:
        error: (B, T, 3, H, W) as `to_ycbcr` gives them; frames whose error is 0 all over are not counted.

    Source: the PSNR loss of HINet (Chen et al., 2021).
    """
    mean_square = error[:, :, 0].square().mean((-2, -1))
    counted = mean_square > 0
    return torch.log10(mean_square[counted] + LEAST_SQUARE).mean()


def spectrum(error: Tensor) -> Tensor:
    """L_perc's stand-in: mean absolute value of the luma error's orthonormal 2-D spectrum; (..., 3, H, W)."""
    size: Tensor = torch.fft.rfft2(error[..., 0, :, :], norm="ortho").abs().mean()
    return size


def consistency(error: Tensor) -> Tensor:
    """L_consis: L1 between the frame-to-frame changes, which is the change of the error; (B, T, 3, H, W), T >= 2.

    Frames whose error is 0 all over are not counted: they stand in for what cannot be compared.
    """
    change = (error[:, 1:] - error[:, :-1]).abs().mean((2, 3, 4))
    is_counted = error.flatten(2).any(2)
    pairs = is_counted[:, 1:] & is_counted[:, :-1]
    # Of each window by itself, so that those of a batch may be shared out among devices.
    return ((change * pairs).sum(1) / pairs.sum(1).clamp_min(1)).mean()


def latent(made: Tensor, true: Tensor) -> Tensor:
    """L_latent: mean squared distance to the latents of the undamaged clip, which are held fixed."""
    return (made - true.detach()).square().mean()


def luma_errors(made: Tensor, true: Tensor) -> list[float]:
    """Mean squared luma error of each frame, (N, 3, H, W), after rounding to 8 bits."""
    rounded = made.float().clamp(0, 1).mul(255).round().div(255)
    luma = to_ycbcr(rounded - true)[:, 0]
    return [max(float(e), 1e-10) for e in luma.square().mean((1, 2))]
