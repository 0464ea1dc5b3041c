"""What a run of STAR may be told."""

from __future__ import annotations

from dataclasses import dataclass

from diffst.star.names import MAX_GUIDANCE, MAX_STEPS, UNET_PIPELINE, WINDOWS
from diffst.star.vae import DECODE_FRAMES

DEFAULT_SEED = 666  # the published results'


@dataclass(frozen=True, kw_only=True)
class StarSettings:
    """How STAR samples; the defaults are those of the published results, save the fade.

    Raises:
        ValueError: A value is out of range.
    """

    num_steps: int | None = None
    """Steps at even distances; None takes the 14 published ones."""
    guidance: float = 7.5
    """How far to move away from the negative prompt, 0 to 100; 1 ignores it and takes half the time."""
    seed: int = DEFAULT_SEED
    """Of all noise; a frame's noise depends on it and on the frame's place in the video only."""
    window_frames: int = 32
    """Frames that the network sees together; a longer clip is seen in windows that overlap by half."""
    windows: str = "fade"
    """`fade` windows into each other, or `cut` in the middle of what they share, as published."""
    tile_latents: tuple[int, int] | None = None
    """Most latent rows and columns that the network sees; None is the whole picture."""
    vae_tile_latents: int | None = None
    """Most latent rows and columns that the VAE sees; None is the whole picture."""
    decode_frames: int = DECODE_FRAMES
    """Frames that are decoded together."""

    def __post_init__(self) -> None:
        most = MAX_STEPS[UNET_PIPELINE]
        if self.num_steps is not None and not 1 <= self.num_steps <= most:
            raise ValueError(f"{self.num_steps} steps; STAR takes 1 to {most}")
        if not 0 <= self.guidance <= MAX_GUIDANCE:  # NaN fails this too
            raise ValueError(f"guidance {self.guidance:g}; STAR takes 0 to {MAX_GUIDANCE}")
        if self.window_frames < 1 or self.decode_frames < 1:
            raise ValueError("windows and groups hold at least 1 frame")
        ways = WINDOWS[UNET_PIPELINE]
        if self.windows not in ways:
            raise ValueError(f"windows `{self.windows}`; STAR takes {' or '.join(ways)}")
