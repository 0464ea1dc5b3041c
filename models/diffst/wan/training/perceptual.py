"""L_perc by a network that judges pictures: DISTS or LPIPS, through pyiqa (the `metrics` extra)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

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
        ValueError: pyiqa is not installed, or the weights are not here and cannot be fetched; it says what to do.
    """
    try:
        import pyiqa
    except (ImportError, RuntimeError) as error:  # RuntimeError: torchvision for another torch
        raise ValueError(
            f"loss `{name}` is not available: {error}; run `pip install 'diffst[metrics]'`, with the torchvision that "
            "belongs to this torch"
        ) from error
    try:
        judge: Any = pyiqa.create_metric(name, device=device, as_loss=True)
    except OSError as error:  # of urllib, requests and huggingface_hub alike
        raise ValueError(
            f"loss `{name}` is not available: its weights cannot be fetched: {error}; run it once with a network, or "
            "copy `~/.cache/torch/hub` and `~/.cache/huggingface` from a machine that has one"
        ) from error
    assert isinstance(judge, nn.Module)
    return PerceptualLoss(judge.requires_grad_(False).eval())
