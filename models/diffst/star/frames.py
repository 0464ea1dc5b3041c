"""Pictures as STAR wants them: enlarged plainly, then padded to sides its network gives back."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

LEAST_SIZE = (720, 1280)  # height and width that the published weights were trained at
STRIDE = 64  # pixels; the network halves latents of 8 x 8 pixels three times
HEIGHT_REMAINDER = 16  # pixels that heights are above a multiple of the stride
PADDING_VALUE = 1.0  # white, in [-1, 1], as in training


@dataclass(frozen=True, kw_only=True)
class Padding:
    """Pixels added on each side."""

    top: int
    bottom: int
    left: int
    right: int

    def pad(self, pictures: Tensor) -> Tensor:
        """(..., H, W) -> (..., top + H + bottom, left + W + right)."""
        sides = (self.left, self.right, self.top, self.bottom)
        return F.pad(pictures, sides, value=PADDING_VALUE)

    def crop(self, pictures: Tensor) -> Tensor:
        """The inverse of `pad`."""
        height, width = pictures.shape[-2:]
        return pictures[..., self.top : height - self.bottom, self.left : width - self.right]


def padding_of(size: tuple[int, int], least: tuple[int, int] = LEAST_SIZE) -> Padding:
    """The padding of a picture: around it up to the least size, below and to the right beyond that.

    Args:
        size: Height and width.
        least: Height and width at least; 64 k + 16 and a multiple of 64.
    """
    (height, width), (least_height, least_width) = size, least
    if height <= least_height:
        top = (least_height - height) // 2
        bottom = least_height - height - top
    else:
        top = 0
        whole = (height + STRIDE - HEIGHT_REMAINDER) // STRIDE * STRIDE + HEIGHT_REMAINDER
        bottom = whole - height
    if width <= least_width:
        left = (least_width - width) // 2
        right = least_width - width - left
    else:
        left = 0
        right = width // STRIDE * STRIDE + STRIDE - width
    return Padding(top=top, bottom=bottom, left=left, right=right)


def enlarge(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, 3, h, w) float in [0, 1] -> (N, 3, *size) in [-1, 1], bilinear."""
    return F.interpolate(pictures, size=size, mode="bilinear", align_corners=False) * 2 - 1
