"""How neighbours that share something move from one to the other: windows, tiles, and what else overlaps."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def ramp(length: int, device: torch.device | str = "cpu") -> Tensor:
    """Weights of the later of two neighbours over what they share.

    A cosine taken at the middle of each place, w_i = 0.5 - 0.5 cos(pi (i + 0.5) / length), so it reaches neither end.

    Returns:
        (length,) float32, rising, never 0 or 1.
    """
    places = torch.arange(length, dtype=torch.float32, device=device)
    return 0.5 - 0.5 * torch.cos(math.pi * (places + 0.5) / max(length, 1))
