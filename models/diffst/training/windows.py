"""One training window, the ways to turn it that keep it true, and a batch of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Image = NDArray[np.uint8]
Flow = NDArray[np.float32]

LEAST_CONTRAST = 0.08


@dataclass(frozen=True, kw_only=True)
class Window:
    """One training sample as numpy arrays, channels last."""

    keyframes: Image
    """(K, h, w, 3)."""
    flows: Flow
    """(K - 1, 2, h, w, 2), x and y in low-resolution pixels; [k, 0] from k to k + 1, [k, 1] back."""
    targets: Image
    """(2 K - 9, 4h, 4w, 3): the truth at 2, 2.5, ..., K - 3."""
    interpolate: bool
    """Whether the targets between keyframes are true motion; when not, only those at keyframes count."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """B windows as tensors, channels first."""

    keyframes: Tensor
    """(B, K, 3, h, w) uint8."""
    flows: Tensor
    """(B, K - 1, 2, 2, h, w) float32; the last 2 is x, y."""
    targets: Tensor
    """(B, 2 K - 9, 3, 4h, 4w) uint8."""
    interpolate: Tensor
    """(B,) bool."""


def flip_horizontal(window: Window) -> Window:
    """The window in a mirror: left and right exchanged."""
    flows = window.flows[..., ::-1, :] * np.array([-1, 1], np.float32)
    return replace(
        window,
        keyframes=window.keyframes[:, :, ::-1],
        flows=flows,
        targets=window.targets[:, :, ::-1],
    )


def transpose(window: Window) -> Window:
    """The window with x and y exchanged."""
    return replace(
        window,
        keyframes=window.keyframes.swapaxes(1, 2),
        flows=window.flows.swapaxes(2, 3)[..., ::-1],
        targets=window.targets.swapaxes(1, 2),
    )


def flip_vertical(window: Window) -> Window:
    """The window with up and down exchanged."""
    return transpose(flip_horizontal(transpose(window)))


def reverse_time(window: Window) -> Window:
    """The window played backwards: what was the flow from k + 1 to k now leads forwards."""
    return replace(
        window,
        keyframes=window.keyframes[::-1],
        flows=window.flows[::-1, ::-1],
        targets=window.targets[::-1],
    )


def lower_contrast(window: Window, rng: np.random.Generator) -> Window:
    """The window in fog or dusk: all pictures brought nearer to a level drawn at random, rounded to codes again.

    What is left of the contrast is drawn between `LEAST_CONTRAST` and 1, evenly in its logarithm.
    """
    contrast = LEAST_CONTRAST ** rng.random()
    level = rng.uniform(0.0, 255.0 * (1 - contrast))
    codes = np.rint(level + contrast * np.arange(256)).astype(np.uint8)
    return replace(window, keyframes=codes[window.keyframes], targets=codes[window.targets])


AUGMENTATIONS = (flip_horizontal, flip_vertical, transpose, reverse_time)


def stack_windows(windows: list[Window]) -> Batch:
    """The windows as one batch of tensors that own their memory."""
    return Batch(
        keyframes=_stack_images([window.keyframes for window in windows]),
        flows=_stack_flows([window.flows for window in windows]),
        targets=_stack_images([window.targets for window in windows]),
        interpolate=torch.tensor([window.interpolate for window in windows]),
    )


def to_device(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Keyframes and targets as float in [0, 1], flows and flags, on the device."""
    keyframes = batch.keyframes.to(device, non_blocking=True).float().div(255)
    targets = batch.targets.to(device, non_blocking=True).float().div(255)
    return (
        keyframes,
        batch.flows.to(device, non_blocking=True),
        targets,
        batch.interpolate.to(device),
    )


def _stack_images(images: list[Image]) -> Tensor:
    count, height, width, channels = images[0].shape
    stacked = np.empty((len(images), count, channels, height, width), np.uint8)
    for index, image in enumerate(images):
        for channel in range(channels):
            stacked[index, :, channel] = image[..., channel]
    return torch.from_numpy(stacked)


def _stack_flows(flows: list[Flow]) -> Tensor:
    pairs, directions, height, width, axes = flows[0].shape
    stacked = np.empty((len(flows), pairs, directions, axes, height, width), np.float32)
    for index, flow in enumerate(flows):
        stacked[index] = flow.transpose(0, 1, 4, 2, 3)
    return torch.from_numpy(stacked)
