"""Tiny footage whose every pixel is known: a textured plane that moves a whole number of pixels a frame."""

from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diffst.wan.training.manifest import Clip
from tests.media import file_url, run_ffmpeg

EXACT_RGB = ("-c:v", "libx264rgb", "-qp", "0", "-preset", "ultrafast", "-g", "8", "-bf", "2")
RATE = Fraction(25)


def texture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Noise whose amplitude falls as one over the frequency, as in photos; (height, width, 3)."""
    rng = np.random.default_rng(seed)
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    shape = 1 / np.maximum(np.hypot(fy, fx), 1 / max(height, width))
    waves = rng.standard_normal((3, *shape.shape)) + 1j * rng.standard_normal((3, *shape.shape))
    planes = np.fft.irfft2(waves * shape, s=(height, width))
    return np.clip(128 + 45 * planes / planes.std(), 0, 255).astype(np.uint8).transpose(1, 2, 0)


def moving(
    num_frames: int, size: tuple[int, int] = (64, 96), *, speed: int = 1, seed: int = 0
) -> NDArray[np.uint8]:
    """(num_frames, H, W, 3); what leaves on the left comes back on the right."""
    plane = texture(*size, seed)
    return np.stack([np.roll(plane, -speed * number, axis=1) for number in range(num_frames)])


def write_video(path: Path, frames: NDArray[np.uint8], *, rate: Fraction = RATE) -> Path:
    """A video that decodes to exactly these frames."""
    height, width = frames.shape[1:3]
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(rate)]
    run_ffmpeg(*raw, "-i", "pipe:0", *EXACT_RGB, file_url(path), stdin=frames.tobytes())
    return path


def video_clip(path: Path, num_frames: int, *, start: int = 0, size=(64, 96)) -> Clip:
    """Frames from number `start` on."""
    return Clip(
        path=path,
        kind="video",
        height=size[0],
        width=size[1],
        start=start / RATE,
        num_frames=num_frames,
        frame_rate=RATE,
    )
