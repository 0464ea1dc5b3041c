"""Things to move before a background: textured blobs with soft edges, and lines of text."""

from __future__ import annotations

import string

import cv2
import numpy as np
from numpy.typing import NDArray

FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
)
MARGIN = 4  # empty pixels round a shape, so that its edge is soft everywhere
OVERSAMPLE = 4

Image = NDArray[np.uint8]


def blob(texture: Image, radius: float, rng: np.random.Generator) -> Image:
    """A random smooth-edged shape filled from a texture.

    Args:
        texture: (H, W, 3) RGB; repeats mirrored where the shape is larger.
        radius: Mean radius in pixels.
        rng: Draws the outline and the part of the texture.

    Returns:
        Premultiplied RGBA, (n, n, 4).
    """
    half = int(np.ceil(radius * 1.6)) + MARGIN
    mask = _smooth_mask(half, radius, rng)
    side = 2 * half
    y = int(rng.integers(0, max(1, texture.shape[0] - side)))
    x = int(rng.integers(0, max(1, texture.shape[1] - side)))
    crop = texture[y : y + side, x : x + side]
    missing = (side - crop.shape[0], side - crop.shape[1])
    filled = cv2.copyMakeBorder(crop, 0, missing[0], 0, missing[1], cv2.BORDER_REFLECT)
    return _premultiply(filled, mask)


def _smooth_mask(half: int, radius: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Cover of a closed wavy curve, or sometimes of a turned box, (2 half, 2 half) in 0..1."""
    angles = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    if rng.random() < 0.25:
        distance = 1 / np.maximum(
            np.abs(np.cos(angles)), np.abs(np.sin(angles)) * rng.uniform(1, 3)
        )
    else:
        distance = np.ones_like(angles)
        for harmonic in range(1, 6):
            swing = rng.normal(0, 0.25) / harmonic
            distance += swing * np.cos(harmonic * angles + rng.uniform(0, 2 * np.pi))
    distance = np.clip(distance, 0.25, 1.5) * radius
    points = np.stack((np.cos(angles), np.sin(angles)), axis=1) * distance[:, None] + half
    canvas = np.zeros((2 * half * OVERSAMPLE, 2 * half * OVERSAMPLE), np.uint8)
    cv2.fillPoly(canvas, [np.rint(points * OVERSAMPLE).astype(np.int32)], 255)
    mask = cv2.resize(canvas, (2 * half, 2 * half), interpolation=cv2.INTER_AREA).astype(np.float32)
    softness = float(rng.uniform(0.4, 1.2))
    soft: NDArray[np.float32] = cv2.GaussianBlur(mask, (0, 0), softness) / np.float32(255)
    return soft


def text_plate(rng: np.random.Generator) -> Image:
    """A line of random text with an outline, premultiplied RGBA (h, w, 4)."""
    letters = list(string.ascii_letters + string.digits + "  .,!?")
    words = "".join(rng.choice(letters, int(rng.integers(4, 18))))
    font = FONTS[int(rng.integers(len(FONTS)))]
    size = float(rng.uniform(0.6, 2.0))
    thickness = max(1, round(size * float(rng.uniform(1, 2.2))))
    (width, height), baseline = cv2.getTextSize(words, font, size, thickness)
    edge = 2 * MARGIN
    shape = (height + baseline + 2 * edge, width + 2 * edge)
    place = (edge, height + edge)
    inner, outer = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    cv2.putText(inner, words, place, font, size, 255, thickness, cv2.LINE_AA)
    outline = thickness + int(rng.choice([0, 2, 4]))
    cv2.putText(outer, words, place, font, size, 255, outline, cv2.LINE_AA)
    ink = rng.integers(0, 256, 3) if rng.random() < 0.5 else np.full(3, 245)
    paper = 255 - ink
    cover = np.maximum(inner, outer).astype(np.float32)[..., None] / np.float32(255)
    share = inner.astype(np.float32)[..., None] / 255
    colour = (ink * share + paper * (1 - share)).astype(np.uint8)
    return _premultiply(colour, cover[..., 0])


def _premultiply(colour: Image, cover: NDArray[np.float32]) -> Image:
    rgba = np.concatenate((colour * cover[..., None], 255 * cover[..., None]), axis=2)
    return np.rint(rgba).astype(np.uint8)
