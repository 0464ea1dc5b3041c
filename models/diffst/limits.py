"""How much a model may hold at once: chosen by whoever knows the memory there is, kept by the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a model does at once, and what it does bit by bit. The default leaves every choice to the model."""

    tile: int | None = None
    """Side of the square tiles in which pictures go through the codec, in output pixels; None for whole frames."""
    latents_per_call: int | None = None
    """Latents in time that the decoder takes at once; None for the model's own number."""
    window_frames: int | None = None
    """Output frames that see each other in the transformer or UNet; None for the model's own number."""
    offload: bool = False
    """Whether a large part is on the device only while it works, and in main memory else."""
    clips_alone: bool = False
    """Whether, in tiles, each clip begins anew, so that main memory holds the pictures of one and not of a segment."""


@runtime_checkable
class LimitedModel(Protocol):
    """An `UpscaleModel` that can be told how much it may hold."""

    def keep_within(self, limits: Limits) -> None:
        """Work within these from the next call on."""
