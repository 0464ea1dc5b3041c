"""Which parts of STAR's network a run trains."""

from __future__ import annotations

from torch import nn

from diffst.star.liem import train_liem_only
from diffst.star.network import StarUNet

PARTS = ("control", "local")


def train_parts(network: StarUNet, parts: str) -> list[nn.Parameter]:
    """Freeze all that a run does not train.

    Args:
        network: Of any size; dropout is switched on.
        parts: `control` for the control branch and every local enhancement (LIEM), as published: 629,888,050
            parameters of the published size; `local` for local enhancement alone: 2,354.

    Returns:
        What is trained, for the optimiser.

    Raises:
        ValueError: There are no such parts.
    """
    if parts not in PARTS:
        raise ValueError(f"`{parts}` is not one of {', '.join(PARTS)}")
    network.train()
    train_liem_only(network)
    if parts == "control":
        network.VideoControlNet.requires_grad_(True)
    return [parameter for parameter in network.parameters() if parameter.requires_grad]
