"""Small pieces that several components are built from."""

from __future__ import annotations

from typing import TypeVar

import torch.nn.functional as F
from torch import Tensor, nn

Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)


def zeroed(layer: Layer) -> Layer:
    """Set a fresh layer's weights and bias to 0, so that its branch adds nothing until it is trained."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def leaky(x: Tensor) -> Tensor:
    """The activation of the convolutional parts, in place; keeps 0 at 0."""
    return F.leaky_relu(x, 0.1, inplace=True)
