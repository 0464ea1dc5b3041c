"""Metrics that are networks; `diffst.judges` opens them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING

from diffst.judges import NoJudgeError, open_judge
from diffst_cli.errors import UserError
from diffst_cli.evaluation.scores import Series

if TYPE_CHECKING:
    from torch import Tensor

    Judge = Callable[..., Tensor]

# Our name -> pyiqa's, and whether the true frame is compared with.
NETWORKS: Mapping[str, tuple[str, bool]] = {
    "lpips": ("lpips", True),
    "dists": ("dists", True),
    "clip-iqa": ("clipiqa", False),
    "musiq": ("musiq", False),
    "maniqa": ("maniqa", False),
}
TLP_NETWORK = "lpips"
TLP_FACTOR = 100  # tLP is given in hundredths of LPIPS


@cache
def open_network(name: str) -> Judge:
    """The network of a metric, loaded; weights are downloaded on first use.

    Args:
        name: One of `NETWORKS`, or `tlp`.

    Raises:
        UserError: pyiqa is not installed, or the weights are not here and cannot be fetched.
    """
    known, _ = NETWORKS[TLP_NETWORK if name == "tlp" else name]
    try:
        judge: Judge = open_judge(known, f"metric `{name}`")
    except NoJudgeError as error:
        raise UserError(error.reason, hint=error.hint) from error
    return judge


def measure_by_network(name: str, rgb: Tensor, true_rgb: Tensor) -> Series:
    """The metric of each frame.

    Args:
        name: One of `NETWORKS`.
        rgb: Frames of the output, (T, H, W, 3) uint8.
        true_rgb: Frames of the reference, same shape.
    """
    judge = open_network(name)
    _, compares = NETWORKS[name]
    values = []
    for mine, true in zip(rgb, true_rgb, strict=True):
        frames = (_as_input(mine), _as_input(true)) if compares else (_as_input(mine),)
        values.append(float(judge(*frames)))
    return tuple(values)


def measure_tlp(rgb: Tensor, true_rgb: Tensor) -> Series:
    """TLP of each t >= 1: how far the perceived change since t - 1 is from the true change.

    100 |LPIPS(x[t - 1], x[t]) - LPIPS(r[t - 1], r[t])|. Source: Chu et al. 2020, "Learning temporal
    coherence via self-supervision for GAN-based video generation".

    Args:
        rgb: Frames of the output, (T, H, W, 3) uint8.
        true_rgb: Frames of the reference, same shape.
    """
    judge = open_network("tlp")

    def change(frames: Tensor, t: int) -> float:
        return float(judge(_as_input(frames[t - 1]), _as_input(frames[t])))

    return tuple(TLP_FACTOR * abs(change(rgb, t) - change(true_rgb, t)) for t in range(1, len(rgb)))


def _as_input(frame: Tensor) -> Tensor:
    """(H, W, 3) uint8 to what pyiqa takes, (1, 3, H, W) float in [0, 1]."""
    return frame.permute(2, 0, 1)[None].float() / 255
