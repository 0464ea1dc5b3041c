"""Training windows from a prepared cache: cut, turned at random, stacked into batches.

A window is K neighbouring degraded keyframes with their flows, and the true high-resolution frames at the instants
2, 2.5, 3, ..., K - 3 (in keyframes), those where a keyframe has two neighbours on each side.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diffst.reach import CONTEXT_KEYFRAMES
from diffst.training.ahead import made_ahead
from diffst.training.degradation import FACTOR
from diffst.training.windows import (
    AUGMENTATIONS,
    Batch,
    Window,
    lower_contrast,
    stack_windows,
)

TRACK_WEIGHTS = {"clean": 0.8, "web": 1.1, "old": 1.0}
# ffmpeg's own bicubic most of all, since it is what shrinks most videos; each other costs the first a little.
KERNEL_WEIGHTS = {"bicubic_sharp": 2.0, "bicubic": 1.0, "lanczos": 0.5, "area": 0.3}
REAL_SHARE = 0.5  # part of the windows that comes from real clips
NUM_CANDIDATES = 4  # places looked at for one window
FLAT_GRADIENT = 1.0  # mean gradient in code values below which a crop teaches next to nothing
LARGE_MOTION = 6.0  # low-resolution pixels a keyframe from which more motion does not weigh more

Image = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A complete folder of the cache."""

    folder: Path
    synthetic: bool
    interpolate: bool
    num_keyframes: int
    size: tuple[int, int]
    """(height, width) at low resolution."""
    variants: dict[str, float]
    """Names of its degradations and how often each is drawn, of 1."""


class WindowDataset:
    """Random windows of the clips in a cache folder.

    Holds the list of clips, not their frames: arrays are mapped anew for each window and read through the page cache.
    """

    def __init__(
        self,
        cache_dir: Path,
        *,
        lr_crop: int = 64,
        num_keyframes: int = 6,
        faded_share: float = 0.0,
        seed: int = 0,
    ) -> None:
        """Find the clips.

        Args:
            cache_dir: What `prepare` filled.
            lr_crop: Side of a window at low resolution, in pixels.
            num_keyframes: Keyframes in a window, K; at least 5.
            faded_share: Share of the windows whose contrast is lowered.
            seed: Of `batches`.

        Raises:
            ValueError: K is below 5, or no complete clip holds such a window.
        """
        if num_keyframes < 2 * CONTEXT_KEYFRAMES + 1:
            raise ValueError(f"a window needs at least 5 keyframes, not {num_keyframes}")
        self.lr_crop = lr_crop
        self.num_keyframes = num_keyframes
        self.faded_share = faded_share
        self.seed = seed
        found = [_read_clip_entry(path.parent) for path in sorted(cache_dir.glob("*/meta.json"))]
        self.clips = [
            clip
            for clip in found
            if clip.num_keyframes >= num_keyframes and min(clip.size) >= lr_crop
        ]
        if not self.clips:
            raise ValueError(
                f"no clip in {cache_dir} holds {num_keyframes} keyframes of {lr_crop} px"
            )
        self.left_out: list[str] = []
        """A sentence on how many clips are used, where not all are."""
        if len(self.clips) < len(found):
            self.left_out.append(
                f"{len(self.clips)} of {len(found)} clips are used; the others are not at least "
                f"{lr_crop * FACTOR} pixels wide and high and {2 * num_keyframes - 1} frames long"
            )

    @property
    def described(self) -> list[str]:
        """What tells these windows from those of other clips, wherever the clips lie."""
        clips = (f"{clip.folder.name} {clip.num_keyframes} {clip.size}" for clip in self.clips)
        return [f"{self.num_keyframes} {self.lr_crop}", *clips]

    def sample(self, rng: np.random.Generator) -> Window:
        """Cut one window at random, turn it and fade it at random."""
        clips = self.clips
        kinds = [
            [clip for clip in clips if clip.synthetic is synthetic] for synthetic in (False, True)
        ]
        chosen_kind = kinds[int(rng.random() >= REAL_SHARE)] or clips
        clip = chosen_kind[int(rng.integers(len(chosen_kind)))]
        window = self._cut(clip, _draw_variant(clip, rng), rng)
        for augmentation in AUGMENTATIONS:
            if rng.random() < 0.5:
                window = augmentation(window)
        return lower_contrast(window, rng) if rng.random() < self.faded_share else window

    def batch(self, batch_size: int, rng: np.random.Generator) -> Batch:
        """Sample and stack `batch_size` windows."""
        return stack_windows([self.sample(rng) for _ in range(batch_size)])

    def batch_of_step(self, step: int, batch_size: int) -> Batch:
        """The windows of a step; which they are follows from the seed and the step's number alone."""
        return self.batch(batch_size, np.random.default_rng((self.seed, step)))

    def batches(
        self, batch_size: int, *, first_step: int = 0, num_workers: int = 0
    ) -> Iterator[Batch]:
        """Batches of step `first_step`, `first_step` + 1, ... without end; see `made_ahead`."""
        make = partial(self.batch_of_step, batch_size=batch_size)
        return made_ahead(make, first_step=first_step, num_workers=num_workers)

    def _cut(self, clip: Clip, variant: str, rng: np.random.Generator) -> Window:
        keyframes = np.load(clip.folder / f"lr_{variant}.npy", mmap_mode="r")
        flows = np.load(clip.folder / f"flow_{variant}.npy", mmap_mode="r")
        frames = np.load(clip.folder / "hr.npy", mmap_mode="r")
        length, crop = self.num_keyframes, self.lr_crop
        start, top, left = self._choose_place(clip, keyframes, flows, rng)
        y, x = slice(top, top + crop), slice(left, left + crop)
        high_y = slice(top * FACTOR, (top + crop) * FACTOR)
        high_x = slice(left * FACTOR, (left + crop) * FACTOR)
        first = 2 * (start + CONTEXT_KEYFRAMES)
        last = 2 * (start + length - 1 - CONTEXT_KEYFRAMES)
        # Copied, so that a step of many windows does not hold as many files open.
        return Window(
            keyframes=np.array(keyframes[start : start + length, y, x]),
            flows=np.asarray(flows[start : start + length - 1, :, y, x], np.float32),
            targets=np.array(frames[first : last + 1, high_y, high_x]),
            interpolate=clip.interpolate,
        )

    def _choose_place(
        self, clip: Clip, keyframes: Image, flows: NDArray[np.float16], rng: np.random.Generator
    ) -> tuple[int, int, int]:
        """(first keyframe, top, left), a little more often where there is texture and motion."""
        height, width = clip.size
        limits = (
            clip.num_keyframes - self.num_keyframes,
            height - self.lr_crop,
            width - self.lr_crop,
        )
        places = rng.integers(0, limits, (NUM_CANDIDATES, 3), endpoint=True)
        weights = np.empty(NUM_CANDIDATES)
        for index, (start, top, left) in enumerate(places):
            middle = start + (self.num_keyframes - 1) // 2
            y, x = slice(top, top + self.lr_crop), slice(left, left + self.lr_crop)
            green = keyframes[middle, y, x, 1].astype(np.int16)
            gradient = np.abs(np.diff(green, axis=0)).mean() + np.abs(np.diff(green, axis=1)).mean()
            motion = np.abs(flows[middle, 0, y, x][::4, ::4].astype(np.float32)).mean()
            texture = 0.02 if gradient < FLAT_GRADIENT else 1 + min(float(gradient) / 16, 1.0)
            weights[index] = texture * (1 + min(float(motion) / LARGE_MOTION, 1.0))
        chosen = places[int(rng.choice(NUM_CANDIDATES, p=weights / weights.sum()))]
        return int(chosen[0]), int(chosen[1]), int(chosen[2])


def _read_clip_entry(folder: Path) -> Clip:
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    num_frames, height, width, _ = meta["shape"]
    weights = {
        name: TRACK_WEIGHTS[damage["track"]] * KERNEL_WEIGHTS[damage["kernel"]]
        for name, damage in sorted(meta["variants"].items())
    }
    return Clip(
        folder=folder,
        synthetic=meta["synthetic"],
        interpolate=meta["interpolate"],
        num_keyframes=(num_frames + 1) // 2,
        size=(height // FACTOR, width // FACTOR),
        variants={name: weight / sum(weights.values()) for name, weight in weights.items()},
    )


def _draw_variant(clip: Clip, rng: np.random.Generator) -> str:
    return str(rng.choice(list(clip.variants), p=list(clip.variants.values())))
