"""Synthetic clips with motion known at every instant: a virtual camera over a photo, objects before it.

Every frame is rendered for its own instant from smooth formulas of time, so a frame between two keyframes is as true
as the keyframes. Time runs in frames of the clip, 0 at its middle.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from diffst.training.degradation import to_uint8

BLUR_STEP = 1.5  # pixels between the instants that a motion-blurred frame averages
MOST_BLUR_STEPS = 11

Image = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """Where a layer is: place, turn and size as smooth functions of time."""

    start: tuple[float, float]
    """(x, y) at time 0, in pixels."""
    velocity: tuple[float, float]
    acceleration: tuple[float, float]
    """In pixels a frame, and per frame once more."""
    shake: float
    """Amplitude of the hand shake, in pixels."""
    shake_rates: tuple[float, float, float]
    """Radians a frame of the shake in x, y and turn."""
    turn: float
    turn_rate: float
    """Radians, and radians a frame."""
    zoom: float
    zoom_rate: float
    """Size at time 0, and the growth of its logarithm a frame."""

    def matrix(self, time: float, pivot: tuple[float, float]) -> NDArray[np.float64]:
        """The (2, 3) affine map from the layer to the frame; `pivot` of the layer lands on the place."""
        swing = [
            self.shake * float(np.sin(rate * time + 1 + axis))
            for axis, rate in enumerate(self.shake_rates)
        ]
        x, y = (
            self.start[axis]
            + self.velocity[axis] * time
            + self.acceleration[axis] * time**2 / 2
            + swing[axis]
            for axis in (0, 1)
        )
        angle = self.turn + self.turn_rate * time + 0.002 * swing[2]
        scale = self.zoom * float(np.exp(self.zoom_rate * time))
        cos, sin = scale * np.cos(angle), scale * np.sin(angle)
        linear = np.array([[cos, -sin], [sin, cos]])
        return np.concatenate(
            (linear, (np.array([x, y]) - linear @ np.array(pivot))[:, None]), axis=1
        )


@dataclass(frozen=True, kw_only=True)
class Ripple:
    """A standing and drifting bend of the background: breathing cloth, water, or the parallax of near and far."""

    wave: tuple[float, float]
    """Radians a pixel of the photo along x and y."""
    direction: tuple[float, float]
    """Which way points are moved; its length is the amplitude in pixels."""
    drift: float
    """Growth of the bend a frame (parallax); 0 when it swings instead."""
    swing_rate: float
    """Radians a frame."""

    def strength(self, time: float) -> float:
        """How far the bend has gone at `time`, about -1 to 1."""
        return self.drift * time if self.drift else float(np.sin(self.swing_rate * time))


@dataclass(frozen=True, kw_only=True)
class Sprite:
    """A moving thing in front: premultiplied RGBA (h, w, 4) uint8 and its way."""

    image: Image
    path: Trajectory


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything a synthetic clip shows; `render` needs nothing else."""

    size: tuple[int, int]
    """(height, width) of the frames."""
    background: Image
    camera: Trajectory
    ripple: Ripple | None
    sprites: tuple[Sprite, ...]
    """From back to front."""
    shutter: float
    """Part of a frame's time that the shutter is open; 0 gives no motion blur."""
    gain_rate: float
    """Change of brightness a frame, as a part of the whole."""


def render(scene: Scene, num_frames: int) -> Image:
    """Render the clip, (num_frames, height, width, 3) RGB."""
    times = np.arange(num_frames) - (num_frames - 1) / 2
    return np.stack([render_instant(scene, float(time)) for time in times])


def render_instant(scene: Scene, time: float) -> Image:
    """Render one frame, (height, width, 3) RGB; `time` in frames from the clip's middle."""
    if scene.shutter == 0:
        frame = _compose(scene, time)
    else:
        steps = _num_blur_steps(scene, time)
        instants = time + scene.shutter * ((np.arange(steps) + 0.5) / steps - 0.5)
        frame = np.mean(
            [_compose(scene, float(instant)) for instant in instants], axis=0, dtype=np.float32
        )
    gained = frame * np.float32(np.clip(1 + scene.gain_rate * time, 0.0, 2.0))
    return to_uint8(gained)


def _num_blur_steps(scene: Scene, time: float) -> int:
    """Enough instants that the fastest layer moves no more than `BLUR_STEP` between two of them."""
    paths = [scene.camera, *(sprite.path for sprite in scene.sprites)]
    corners = np.array([[0, 0, 1], [scene.size[1], scene.size[0], 1]], float).T
    middle = (scene.size[1] / 2, scene.size[0] / 2)
    moved = max(
        float(
            np.abs(
                (path.matrix(time + 0.5, middle) - path.matrix(time - 0.5, middle)) @ corners
            ).max()
        )
        for path in paths
    )
    return int(np.clip(np.ceil(moved * scene.shutter / BLUR_STEP), 2, MOST_BLUR_STEPS))


def _compose(scene: Scene, time: float) -> NDArray[np.float32]:
    height, width = scene.size
    photo_height, photo_width = scene.background.shape[:2]
    matrix = scene.camera.matrix(time, (photo_width / 2, photo_height / 2))
    border = cv2.BORDER_REFLECT_101
    if scene.ripple is None:
        view = cv2.warpAffine(
            scene.background, matrix, (width, height), flags=cv2.INTER_LANCZOS4, borderMode=border
        )
    else:
        map_x, map_y = _rippled_maps(scene.ripple, matrix, scene.size, time)
        view = cv2.remap(scene.background, map_x, map_y, cv2.INTER_CUBIC, borderMode=border)
    frame: NDArray[np.float32] = view.astype(np.float32)
    for sprite in scene.sprites:
        _lay_over(frame, sprite, time)
    return frame


def _rippled_maps(
    ripple: Ripple, matrix: NDArray[np.float64], size: tuple[int, int], time: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    inverse = cv2.invertAffineTransform(matrix).astype(np.float32)
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    map_x = inverse[0, 0] * x + inverse[0, 1] * y + inverse[0, 2]
    map_y = inverse[1, 0] * x + inverse[1, 1] * y + inverse[1, 2]
    bend = np.sin(np.float32(ripple.wave[0]) * map_x + np.float32(ripple.wave[1]) * map_y)
    bend *= np.float32(ripple.strength(time))
    return map_x + np.float32(ripple.direction[0]) * bend, map_y + np.float32(
        ripple.direction[1]
    ) * bend


def _lay_over(frame: NDArray[np.float32], sprite: Sprite, time: float) -> None:
    """Draw a sprite over `frame` in place, working only on the part of the frame that it covers."""
    height, width = sprite.image.shape[:2]
    matrix = sprite.path.matrix(time, (width / 2, height / 2))
    corners = matrix @ np.array([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]], float)
    left, top = np.maximum(np.floor(corners.min(axis=1)).astype(int) - 2, 0)
    right, bottom = np.minimum(
        np.ceil(corners.max(axis=1)).astype(int) + 2, (frame.shape[1], frame.shape[0])
    )
    if right <= left or bottom <= top:
        return
    matrix[:, 2] -= (left, top)
    # Linear: a cubic kernel would overshoot at the edge and show a bright rim.
    drawn = cv2.warpAffine(
        sprite.image, matrix, (int(right - left), int(bottom - top)), flags=cv2.INTER_LINEAR
    )
    part = frame[top:bottom, left:right]
    part *= 1 - drawn[..., 3:].astype(np.float32) / 255
    part += drawn[..., :3]
