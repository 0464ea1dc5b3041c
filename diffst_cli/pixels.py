"""Arrays of pixels on the host."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Image: TypeAlias = npt.NDArray[np.unsignedinteger[Any]]
"""(height, width, channels), uint8 or uint16, full range: 0 to 255, or 0 to 65535 from a source deeper than 8 bits."""


def composite(picture: Image) -> Image:
    """`picture` without its alpha channel, over black; unchanged when it has none."""
    if picture.shape[2] == 3:
        return picture
    full = np.iinfo(picture.dtype).max
    colour, alpha = picture[:, :, :3].astype(np.uint32), picture[:, :, 3:].astype(np.uint32)
    blended: Image = ((colour * alpha + full // 2) // full).astype(picture.dtype)
    return blended
