"""Local information enhancement (LIEM): a gate, made of the channels' maximum and mean, before an attention.

Source: STAR (arXiv 2501.02976, section 3.2), as the published weights have it: a 7 x 7 convolution where the paper
writes 3 x 3, nothing added back. Keys: `conv1.weight`, of the spatial kind (1, 2, 7, 7), of the temporal (1, 2).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

KERNEL = 7


class SpatialLIEM(nn.Module):
    """Weighs each pixel of each frame by its surroundings; 98 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 1, KERNEL, padding=KERNEL // 2, bias=False)

    def forward(self, frames: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape, each pixel times a number in (0, 1)."""
        pooled = torch.cat((frames.amax(1, keepdim=True), frames.mean(1, keepdim=True)), dim=1)
        gated: Tensor = torch.sigmoid(self.conv1(pooled)) * frames
        return gated


class TemporalLIEM(nn.Module):
    """Weighs each token by itself, whatever its neighbours in time; 2 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Linear(2, 1, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., C) -> the same shape, each token times a number in (0, 1)."""
        pooled = torch.cat((tokens.amax(-1, keepdim=True), tokens.mean(-1, keepdim=True)), dim=-1)
        gated: Tensor = torch.sigmoid(self.conv1(pooled)) * tokens
        return gated


def train_liem_only(model: nn.Module) -> list[nn.Parameter]:
    """Freeze all of a model but its LIEM gates: STAR's cheapest training.

    Returns:
        The gates' weights, for the optimiser.

    Raises:
        ValueError: The model has no gates.
    """
    gates = [part for part in model.modules() if isinstance(part, SpatialLIEM | TemporalLIEM)]
    if not gates:
        raise ValueError(f"`{type(model).__name__}` has no local information enhancement to train")
    model.requires_grad_(False)
    parameters = [parameter for gate in gates for parameter in gate.parameters()]
    for parameter in parameters:
        parameter.requires_grad_(True)
    return parameters
