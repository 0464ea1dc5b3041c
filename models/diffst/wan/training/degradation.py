"""Second-order degradation with real codecs: blur, resize, noise, JPEG, video codec, twice, down to a quarter.

What is drawn stays the same along a clip, but for JPEG's quality, which walks. Space only: dropping frames comes
after it, so the degraded frames that are not dropped are known too.

Source: the family of Real-ESRGAN and RealBasicVSR with the ranges that DOVE (arXiv 2505.16239) trains with.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray

from diffst.training.degradation import FACTOR, GREY_WEIGHTS, Codec, to_uint8
from diffst.training.media import code_round_trip
from diffst.wan.training.kernels import Blur, Shape, kernel

# Kinds of blur: shape, whether round, share of the draws.
BLURS: tuple[tuple[Shape, bool, float], ...] = (
    ("gaussian", True, 0.405),
    ("gaussian", False, 0.225),
    ("generalised", True, 0.108),
    ("generalised", False, 0.027),
    ("plateau", True, 0.108),
    ("plateau", False, 0.027),
    ("sinc", True, 0.1),
)
INTERPOLATIONS = (cv2.INTER_LINEAR, cv2.INTER_AREA, cv2.INTER_CUBIC)
GREY_SHARE = 0.4  # of the noises that are the same in all channels
JPEG_QUALITY = (30, 95)
JPEG_STEP = 3  # of the quality, at most, from frame to frame
BITRATES = (1e4, 1e5)  # bits a second
X264 = Codec(
    encoder="libx264", arguments=("-preset", "veryfast")
)  # half the time of a window is coding
CODECS = (X264, X264, Codec(encoder="mpeg4", arguments=()))  # the field's lists name x264 twice
LEAST_SIDE = 16  # pixels; smaller pictures are no input for codecs

Frames = list[NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """What one of the two passes draws from."""

    blur_share: float
    sigma: tuple[float, float]
    """In pixels of what is blurred."""
    resize_shares: tuple[float, float, float]
    """Of larger, smaller, as it is."""
    resize: tuple[float, float]
    """Smallest and largest factor."""
    gaussian: tuple[float, float]
    """Standard deviation, in code values."""
    poisson: tuple[float, float]
    """Standard deviation in units of that of counted light, 255 counts at white."""


PASSES = (
    Ranges(
        blur_share=1.0,
        sigma=(0.2, 3.0),
        resize_shares=(0.2, 0.7, 0.1),
        resize=(0.15, 1.5),
        gaussian=(1, 30),
        poisson=(0.05, 3),
    ),
    Ranges(
        blur_share=0.8,
        sigma=(0.2, 1.5),
        resize_shares=(0.3, 0.4, 0.3),
        resize=(0.3, 1.2),
        gaussian=(1, 25),
        poisson=(0.05, 2.5),
    ),
)
LAST_SINC_SHARE = 0.8


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Noise of one pass."""

    counted: bool
    """Of counted light, which grows with brightness; else Gaussian."""
    strength: float
    """In code values, or in units of counted light's own."""
    grey: bool
    """The same in all channels."""
    seed: int


@dataclass(frozen=True, kw_only=True)
class Pass:
    """What one of the two passes does to a clip."""

    blur: Blur | None
    resize: float
    """Factor on both sides; 1 leaves them."""
    interpolation: int
    """OpenCV's."""
    noise: Noise
    jpeg_quality: int
    """Of the first frame."""
    codec: Codec


@dataclass(frozen=True, kw_only=True)
class SecondOrder:
    """Everything done to one clip, enough to repeat it."""

    first: Pass
    second: Pass
    codec_last: bool
    """The second codec comes after the resize to a quarter and its sinc, else before."""
    last_interpolation: int
    last_blur: Blur | None
    walk_seed: int
    """Of JPEG's qualities."""


def draw_second_order(rng: np.random.Generator) -> SecondOrder:
    """Draw the parameters of one clip's degradation."""
    first, second = (_draw_pass(ranges, rng) for ranges in PASSES)
    return SecondOrder(
        first=first,
        second=second,
        codec_last=bool(rng.random() < 0.5),
        last_interpolation=int(rng.choice(INTERPOLATIONS)),
        last_blur=_draw_sinc(rng, np.pi / 3) if rng.random() < LAST_SINC_SHARE else None,
        walk_seed=int(rng.integers(2**31)),
    )


def _draw_pass(ranges: Ranges, rng: np.random.Generator) -> Pass:
    smallest, largest = ranges.resize
    way = int(rng.choice(3, p=ranges.resize_shares))
    factor = (rng.uniform(1, largest), rng.uniform(smallest, 1), 1.0)[way]
    counted = bool(rng.random() < 0.5)
    noise = Noise(
        counted=counted,
        strength=float(rng.uniform(*(ranges.poisson if counted else ranges.gaussian))),
        grey=bool(rng.random() < GREY_SHARE),
        seed=int(rng.integers(2**31)),
    )
    codec = CODECS[int(rng.integers(len(CODECS)))]
    bitrate = ("-b:v", str(round(rng.uniform(*BITRATES))))
    return Pass(
        blur=_draw_blur(ranges.sigma, rng) if rng.random() < ranges.blur_share else None,
        resize=float(factor),
        interpolation=int(rng.choice(INTERPOLATIONS)),
        noise=noise,
        jpeg_quality=int(rng.integers(JPEG_QUALITY[0], JPEG_QUALITY[1] + 1)),
        codec=replace(codec, arguments=(*codec.arguments, *bitrate)),
    )


def _draw_blur(sigma: tuple[float, float], rng: np.random.Generator) -> Blur:
    shares = [share for _, _, share in BLURS]
    shape, is_round, _ = BLURS[int(rng.choice(len(BLURS), p=shares))]
    if shape == "sinc":
        return _draw_sinc(rng, None)
    first, second = rng.uniform(*sigma, 2)
    return Blur(
        shape=shape,
        size=_draw_size(rng),
        sigmas=(float(first), float(first if is_round else second)),
        angle=0.0 if is_round else float(rng.uniform(-np.pi, np.pi)),
        beta=float(rng.uniform(*((1, 2) if shape == "plateau" else (0.5, 4)))),
    )


def _draw_sinc(rng: np.random.Generator, lowest: float | None) -> Blur:
    """A low pass; its lowest cutoff follows from the size unless given."""
    size = _draw_size(rng)
    least = lowest or (np.pi / 3 if size < 13 else np.pi / 5)
    return Blur(shape="sinc", size=size, cutoff=float(rng.uniform(least, np.pi)))


def _draw_size(rng: np.random.Generator) -> int:
    return 2 * int(rng.integers(3, 11)) + 1  # 7, 9, ..., 21


def degrade_second_order(
    frames: NDArray[np.uint8], degradation: SecondOrder, *, frame_rate: Fraction
) -> NDArray[np.uint8]:
    """A quarter of the size, as a user may have it.

    Args:
        frames: (T, H, W, 3) RGB, H and W multiples of 8, so that a quarter is even for the codecs; T may be 1.
        degradation: What to do.
        frame_rate: Of the clip; the codecs' bits a frame follow from it.

    Returns:
        (T, H/4, W/4, 3) RGB.

    Raises:
        ValueError: H or W is not a multiple of 8.
        RuntimeError: A codec failed.
    """
    height, width = frames.shape[1:3]
    if height % (2 * FACTOR) or width % (2 * FACTOR):
        raise ValueError(f"cannot degrade {height}x{width}: sides are multiples of {2 * FACTOR}")
    rng = np.random.default_rng(degradation.walk_seed)
    first, second = degradation.first, degradation.second
    clip = _common(list(frames.astype(np.float32)), first, rng)
    clip = _coded(clip, first.codec, frame_rate)
    clip = _common(clip, second, rng)
    if not degradation.codec_last:
        clip = _coded(clip, second.codec, frame_rate)
    clip = _resized(clip, (height // FACTOR, width // FACTOR), degradation.last_interpolation)
    if degradation.last_blur:
        clip = _blurred(clip, degradation.last_blur)
    if degradation.codec_last:
        clip = _coded(clip, second.codec, frame_rate)
    return np.stack([to_uint8(frame) for frame in clip])


def _common(clip: Frames, wanted: Pass, rng: np.random.Generator) -> Frames:
    """Blur, resize, noise and JPEG: what both passes do in the same order."""
    if wanted.blur:
        clip = _blurred(clip, wanted.blur)
    if wanted.resize != 1:
        height, width = (_even(side * wanted.resize) for side in clip[0].shape[:2])
        clip = _resized(clip, (height, width), wanted.interpolation)
    return _jpeg(_noisy(clip, wanted.noise), wanted.jpeg_quality, rng)


def _even(side: float) -> int:
    return max(LEAST_SIDE, 2 * round(side / 2))


def _blurred(clip: Frames, blur: Blur) -> Frames:
    weights = kernel(blur)
    border = cv2.BORDER_REFLECT_101
    return [cv2.filter2D(frame, -1, weights, borderType=border) for frame in clip]


def _resized(clip: Frames, size: tuple[int, int], interpolation: int) -> Frames:
    height, width = size
    return [cv2.resize(frame, (width, height), interpolation=interpolation) for frame in clip]


def _noisy(clip: Frames, noise: Noise) -> Frames:
    """Noise of its own on every frame."""
    rng = np.random.default_rng(noise.seed)
    result = []
    for frame in clip:
        light = np.clip(frame @ GREY_WEIGHTS[:, None] if noise.grey else frame, 0, 255)
        error = rng.standard_normal(light.shape, np.float32)
        if noise.counted:
            error *= np.sqrt(light)  # the normal distribution that Poisson's is near to
        result.append(np.clip(frame + noise.strength * error, 0, 255))
    return result


def _jpeg(clip: Frames, quality: int, rng: np.random.Generator) -> Frames:
    result = []
    for frame in clip:
        options = [cv2.IMWRITE_JPEG_QUALITY, quality]
        _, coded = cv2.imencode(".jpg", to_uint8(frame)[..., ::-1], options)
        result.append(cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1].astype(np.float32))
        step = int(rng.integers(-JPEG_STEP, JPEG_STEP + 1))
        quality = int(np.clip(quality + step, *JPEG_QUALITY))
    return result


def _coded(clip: Frames, codec: Codec, frame_rate: Fraction) -> Frames:
    frames = np.stack([to_uint8(frame) for frame in clip])
    coded = code_round_trip(frames, codec, frame_rate=frame_rate, matrix="smpte170m")
    return list(coded.astype(np.float32))
