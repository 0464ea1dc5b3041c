"""What happens to a good video before a user has it: blur, shrinking, noise, and a lossy codec.

Three tracks: `clean` (shrunk, lightly coded), `web` (shrunk, coded as for the web) and `old` (blurred, noisy, coded
hard). All parameters are drawn once per clip and stay constant along it. Space comes first; the dropped frames are
the caller's (the time degradation), then `media.code_round_trip` codes what is left.

Source: order and ranges follow RealBasicVSR/DOVE's second-order family, cut down and centred on our evaluation
tracks (web: bicubic /4 and x264 crf 24; old: blur, noise and crf 30); the cut is our decision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Track = Literal["clean", "web", "old"]
Kernel = Literal["bicubic", "bicubic_sharp", "lanczos", "area"]
FACTOR = 4  # how much smaller the low-resolution frames are, each way
TYPICAL_SHARE = 0.5  # of the old track: near the protocol's own, the rest spread widely
PRESETS = ("veryfast", "fast", "medium", "medium", "medium", "slow")
GREY_WEIGHTS = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, kw_only=True)
class Codec:
    """One lossy coding pass."""

    encoder: str
    """ffmpeg's encoder name."""
    arguments: tuple[str, ...]
    """The encoder's ffmpeg arguments."""


@dataclass(frozen=True, kw_only=True)
class Degradation:
    """Everything done to one clip, enough to repeat it."""

    track: Track
    kernel: Kernel
    """Filter that shrinks the frames."""
    blur_sigmas: tuple[float, float]
    """Standard deviations along the blur's two axes, in low-resolution pixels; 0 means no blur."""
    blur_angle: float
    """Turn of the blur's first axis from horizontal, in radians."""
    noise_sigma: float
    """Standard deviation of the Gaussian noise, in code values."""
    poisson_gain: float
    """Variance of the signal-dependent noise per code value of signal; 0 means none."""
    chroma_share: float
    """How much of the noise differs between the channels: 0 is grey noise, 1 independent."""
    noise_seed: int
    codecs: tuple[Codec, ...]
    """Coding passes in order."""


def draw_degradation(track: Track, rng: np.random.Generator) -> Degradation:
    """Draw the parameters of one clip's degradation."""
    if track == "old" and rng.random() < TYPICAL_SHARE:
        return _draw_typical_old(rng)
    old = track == "old"
    sigma = float(np.exp(rng.uniform(np.log(0.3), np.log(1.5)))) if old else 0.0
    ratio = float(rng.uniform(0.5, 1.0)) if rng.random() < 0.4 else 1.0
    poisson = old and rng.random() < 0.35
    kernels: list[Kernel] = ["bicubic", "bicubic", "bicubic_sharp", "lanczos", "area"]
    return Degradation(
        track=track,
        kernel=kernels[int(rng.integers(len(kernels)))],
        blur_sigmas=(sigma, sigma * ratio),
        blur_angle=float(rng.uniform(0, np.pi)),
        noise_sigma=float(rng.uniform(0.5, 10.0)) if old and not poisson else 0.0,
        poisson_gain=float(np.exp(rng.uniform(np.log(0.02), np.log(0.6)))) if poisson else 0.0,
        chroma_share=float(rng.choice([0.0, rng.uniform(0.2, 1.0)])),
        noise_seed=int(rng.integers(2**31)),
        codecs=_draw_codecs(track, rng),
    )


def _draw_typical_old(rng: np.random.Generator) -> Degradation:
    """An old video near the one that quality is measured on: blur of 2 pixels, noise, crf 30."""
    sigma = float(rng.uniform(0.4, 0.65))
    return Degradation(
        track="old",
        kernel="bicubic_sharp" if rng.random() < 0.5 else "bicubic",
        blur_sigmas=(sigma, sigma),
        blur_angle=0.0,
        noise_sigma=float(rng.uniform(3.0, 6.0)),
        poisson_gain=0.0,
        chroma_share=float(rng.uniform(0.2, 1.0)),
        noise_seed=int(rng.integers(2**31)),
        codecs=(_x264(rng, 28, 32),),
    )


def _draw_codecs(track: Track, rng: np.random.Generator) -> tuple[Codec, ...]:
    if track == "clean":
        return (_x264(rng, 8, 18),)
    if track == "web":
        other = rng.random()
        if other < 0.06:
            return (_libx265(rng, 22, 30),)
        if other < 0.12:
            return (_vp9(rng, 26, 38),)
        if other < 0.22:
            return (_x264(rng, 16, 23), _x264(rng, 20, 27))
        return (_x264(rng, 20, 28),)
    other = rng.random()
    if other < 0.08:
        return (Codec(encoder="mpeg4", arguments=("-q:v", str(rng.integers(3, 9)))),)
    if other < 0.16:
        return (Codec(encoder="mpeg2video", arguments=("-q:v", str(rng.integers(3, 10)))),)
    if other < 0.24:
        return (_vp9(rng, 36, 48),)
    if other < 0.32:
        return (_libx265(rng, 28, 34),)
    return (_x264(rng, 26, 34),)


def _x264(rng: np.random.Generator, lowest_crf: int, highest_crf: int) -> Codec:
    crf = f"{rng.uniform(lowest_crf, highest_crf):.1f}"
    return Codec(encoder="libx264", arguments=("-crf", crf, "-preset", str(rng.choice(PRESETS))))


def _libx265(rng: np.random.Generator, lowest_crf: int, highest_crf: int) -> Codec:
    crf = f"{rng.uniform(lowest_crf, highest_crf):.1f}"
    arguments = ("-crf", crf, "-preset", "fast", "-x265-params", "log-level=none")
    return Codec(encoder="libx265", arguments=arguments)


def _vp9(rng: np.random.Generator, lowest_crf: int, highest_crf: int) -> Codec:
    crf = str(rng.integers(lowest_crf, highest_crf + 1))
    return Codec(
        encoder="libvpx-vp9",
        arguments=("-crf", crf, "-b:v", "0", "-deadline", "good", "-cpu-used", "4"),
    )


def degrade_space(frames: NDArray[np.uint8], degradation: Degradation) -> NDArray[np.uint8]:
    """Blur, shrink and add noise; the codec is not part of it.

    Args:
        frames: (T, H, W, 3) RGB, H and W multiples of 4.
        degradation: What to do.

    Returns:
        (T, H/4, W/4, 3) RGB.

    Raises:
        ValueError: H or W is not a multiple of 4.
    """
    height, width = frames.shape[1:3]
    if height % FACTOR or width % FACTOR:
        raise ValueError(f"cannot shrink {height}x{width} by {FACTOR}")
    vertical = shrink_weights(height, degradation.kernel)
    horizontal = shrink_weights(width, degradation.kernel)
    blur = blur_kernel(degradation)
    rng = np.random.default_rng(degradation.noise_seed)
    result = np.empty((len(frames), height // FACTOR, width // FACTOR, 3), np.uint8)
    for index, frame in enumerate(frames):
        blurred = (
            frame
            if blur is None
            else cv2.filter2D(frame, -1, blur, borderType=cv2.BORDER_REFLECT_101)
        )
        small = _shrink(blurred, vertical, horizontal)
        result[index] = to_uint8(_add_noise(small, degradation, rng))
    return result


def _shrink(
    frame: NDArray[np.uint8], vertical: NDArray[np.float32], horizontal: NDArray[np.float32]
) -> NDArray[np.float32]:
    height, width, channels = frame.shape
    rows = vertical @ frame.reshape(height, width * channels).astype(np.float32)
    small: NDArray[np.float32] = np.matmul(horizontal, rows.reshape(-1, width, channels))
    return small


def shrink_weights(length: int, kernel: Kernel) -> NDArray[np.float32]:
    """The matrix (length/4, length) that shrinks a line by 4 with an antialiased filter; its rows sum to 1."""
    count = length // FACTOR
    centres = (np.arange(count) + 0.5) * FACTOR - 0.5
    distance = (np.arange(-3 * FACTOR, length + 3 * FACTOR)[None, :] - centres[:, None]) / FACTOR
    weights = _kernel_value(np.abs(distance), kernel)
    weights /= weights.sum(axis=1, keepdims=True)
    # Beyond the border the edge pixel repeats, so its weight takes those of the pixels outside.
    result = weights[:, 3 * FACTOR : -3 * FACTOR].copy()
    result[:, 0] += weights[:, : 3 * FACTOR].sum(axis=1)
    result[:, -1] += weights[:, -3 * FACTOR :].sum(axis=1)
    single: NDArray[np.float32] = result.astype(np.float32)
    return single


def _kernel_value(x: NDArray[np.float64], kernel: Kernel) -> NDArray[np.float64]:
    if kernel == "area":
        return (x < 0.5).astype(np.float64)
    if kernel == "lanczos":
        return np.where(x < 3, np.sinc(x) * np.sinc(x / 3), 0.0)
    # ffmpeg's scale filter uses -0.6, most libraries -0.5 (Keys).
    a = -0.6 if kernel == "bicubic_sharp" else -0.5
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def blur_kernel(degradation: Degradation) -> NDArray[np.float32] | None:
    """The turned Gaussian at high resolution, (n, n) summing to 1; None when there is no blur."""
    first, second = (sigma * FACTOR for sigma in degradation.blur_sigmas)
    if first == 0:
        return None
    radius = int(np.ceil(2.5 * max(first, second)))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float64)
    cos, sin = np.cos(degradation.blur_angle), np.sin(degradation.blur_angle)
    along, across = cos * x + sin * y, cos * y - sin * x
    kernel = np.exp(-0.5 * ((along / first) ** 2 + (across / second) ** 2))
    kernel /= kernel.sum()
    single: NDArray[np.float32] = kernel.astype(np.float32)
    return single


def _add_noise(
    frame: NDArray[np.float32], degradation: Degradation, rng: np.random.Generator
) -> NDArray[np.float32]:
    if degradation.noise_sigma == 0 and degradation.poisson_gain == 0:
        return frame
    share = degradation.chroma_share
    grey = rng.standard_normal((*frame.shape[:2], 1), np.float32)
    coloured = rng.standard_normal(frame.shape, np.float32)
    unit = np.sqrt(1 - share) * grey + np.sqrt(share) * coloured
    light = np.maximum(frame @ GREY_WEIGHTS, 0)[..., None]
    sigma = np.sqrt(degradation.noise_sigma**2 + degradation.poisson_gain * light)
    noisy: NDArray[np.float32] = frame + unit * sigma
    return noisy


def to_uint8(frame: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Code values rounded to the nearest and held within 0..255."""
    return np.clip(np.rint(frame), 0, 255).astype(np.uint8)
