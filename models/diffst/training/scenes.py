"""Random scenes for `motion.render`: what moves, how fast and along which way.

The ranges are our decision: speeds spread evenly over their logarithm up to what a fast pan makes, most clips with
something passing in front, some with blur, bends, text or fades.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from diffst.training.motion import Ripple, Scene, Sprite, Trajectory
from diffst.training.shapes import blob, text_plate

SLOWEST, FASTEST = 0.3, 40.0  # pixels a frame at high resolution
ZOOM_GROWTH = 0.25  # the largest logarithm of a zoom over half a clip
SMALLEST_ZOOM = 0.9  # below this a photo seen through the camera would alias

Image = NDArray[np.uint8]


def draw_scene(
    photos: list[Image], size: tuple[int, int], num_frames: int, rng: np.random.Generator
) -> Scene:
    """Draw a random scene.

    Args:
        photos: At least one (H, W, 3) RGB photo: the first is the background, the others texture the objects.
        size: (height, width) of the frames.
        num_frames: Length of the clip; limits how far zooms and fades go.
        rng: Draws everything.
    """
    height, width = size
    background = _shrink_photo(photos[0], size, rng)
    still = rng.random() < 0.15
    camera = _draw_trajectory(
        rng, (width / 2, height / 2), num_frames, speed=0.0 if still else _draw_speed(rng)
    )
    count = int(rng.choice([0, 1, 2, 3], p=[0.25, 0.3, 0.25, 0.2]))
    sprites = [
        _draw_sprite(photos[(1 + i) % len(photos)], size, num_frames, rng) for i in range(count)
    ]
    if rng.random() < 0.2:
        sprites.append(_draw_text(size, num_frames, rng))
    return Scene(
        size=size,
        background=background,
        camera=camera,
        ripple=_draw_ripple(rng, num_frames) if rng.random() < 0.3 else None,
        sprites=tuple(sprites),
        shutter=float(rng.uniform(0.15, 0.5)) if rng.random() < 0.35 else 0.0,
        gain_rate=float(rng.uniform(-0.9, 0.9) / num_frames) if rng.random() < 0.12 else 0.0,
    )


def _draw_speed(rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(np.log(SLOWEST), np.log(FASTEST))))


def _draw_trajectory(
    rng: np.random.Generator,
    start: tuple[float, float],
    num_frames: int,
    *,
    speed: float,
) -> Trajectory:
    """Draw a way whose mean speed is about `speed`."""
    angle = rng.uniform(0, 2 * np.pi)
    velocity = speed * np.array([np.cos(angle), np.sin(angle) * rng.uniform(0.2, 1)])
    change = rng.uniform(-0.5, 0.5, 2) if rng.random() < 0.5 else np.zeros(2)
    acceleration = change * speed / num_frames
    moving = float(speed > 0)
    shakes = moving * (rng.random() < 0.3)
    zoomed = moving * (rng.random() < 0.45) * rng.uniform(-ZOOM_GROWTH, ZOOM_GROWTH)
    zoom_rate = zoomed / (num_frames / 2)
    turn_rate = moving * (rng.random() < 0.35) * rng.normal(0, 0.012)
    lowest = SMALLEST_ZOOM * float(np.exp(abs(zoom_rate) * num_frames / 2))
    return Trajectory(
        start=start,
        velocity=(float(velocity[0]), float(velocity[1])),
        acceleration=(float(acceleration[0]), float(acceleration[1])),
        shake=float(shakes * rng.uniform(0.3, 4.0)),
        shake_rates=tuple(rng.uniform(0.3, 1.6, 3).tolist()),
        turn=float(rng.normal(0, 0.1)),
        turn_rate=float(turn_rate),
        zoom=float(rng.uniform(lowest, max(1.2, lowest))),
        zoom_rate=float(zoom_rate),
    )


def _draw_ripple(rng: np.random.Generator, num_frames: int) -> Ripple:
    wave = rng.normal(0, 1, 2)
    wave *= 2 * np.pi / (np.linalg.norm(wave) * rng.uniform(120, 500))
    direction = rng.normal(0, 1, 2)
    # Bends that folded over themselves would not be a motion; an amplitude well below 1 / |wave| cannot.
    direction *= rng.uniform(0.1, 0.5) / (np.linalg.norm(direction) * np.linalg.norm(wave))
    parallax = rng.random() < 0.5
    return Ripple(
        wave=(float(wave[0]), float(wave[1])),
        direction=(float(direction[0]), float(direction[1])),
        drift=float(parallax * rng.uniform(0.3, 1.0) / (num_frames / 2)),
        swing_rate=float(rng.uniform(0.05, 0.35)),
    )


def _draw_sprite(
    photo: Image, size: tuple[int, int], num_frames: int, rng: np.random.Generator
) -> Sprite:
    height, width = size
    radius = float(np.exp(rng.uniform(np.log(0.02), np.log(0.4)))) * min(size)
    image = blob(_shrink_photo(photo, size, rng), max(radius, 4.0), rng)
    start = (float(rng.uniform(0.1, 0.9) * width), float(rng.uniform(0.1, 0.9) * height))
    path = _draw_trajectory(rng, start, num_frames, speed=_draw_speed(rng))
    return Sprite(image=image, path=path)


def _draw_text(size: tuple[int, int], num_frames: int, rng: np.random.Generator) -> Sprite:
    speed = 0.0 if rng.random() < 0.5 else _draw_speed(rng) / 2
    start = (size[1] * float(rng.uniform(0.3, 0.7)), size[0] * float(rng.choice([0.15, 0.5, 0.85])))
    return Sprite(image=text_plate(rng), path=_draw_trajectory(rng, start, num_frames, speed=speed))


def _shrink_photo(photo: Image, size: tuple[int, int], rng: np.random.Generator) -> Image:
    """Shrink a photo by area, which also hides its JPEG damage; never below the frame's size."""
    smallest = max(size[0] / photo.shape[0], size[1] / photo.shape[1])
    scale = max(smallest, float(rng.uniform(0.5, 1.0)))
    new_size = (round(photo.shape[1] * scale), round(photo.shape[0] * scale))
    mode = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    shrunk: Image = cv2.resize(photo, new_size, interpolation=mode)
    return shrunk
