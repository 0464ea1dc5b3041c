"""L_perc by a network that judges pictures: DISTS or LPIPS, through pyiqa."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from diffst.judges import open_judge

NETWORKS = ("dists", "lpips")  # pyiqa's names too
Judge = Callable[[Tensor, Tensor], Tensor]


class PerceptualLoss:
    """Distance of two sets of pictures as a network that stays as it is sees them; 0 for the same ones."""

    def __init__(self, judge: Judge) -> None:
        """Take what says how far pictures (N, 3, H, W) in [0, 1] are from others, for each or in the mean."""
        self.judge = judge

    def __call__(self, made: Tensor, true: Tensor) -> Tensor:
        """Mean over pictures (N, 3, H, W), about [0, 1]; in float32, since short types lose small distances."""
        with torch.autocast(made.device.type, enabled=False):
            far = self.judge(made.float().clamp(0, 1), true.float().clamp(0, 1))
        return far.mean()


def open_perceptual(name: str, device: torch.device) -> PerceptualLoss:
    """A loss of `NETWORKS`, its network loaded; weights are downloaded on first use.

    Raises:
        ValueError: It cannot be had; it says what to do.
    """
    judge = open_judge(name, f"loss `{name}`", device=device, as_loss=True)
    assert isinstance(judge, nn.Module)
    return PerceptualLoss(judge.requires_grad_(False).eval())
