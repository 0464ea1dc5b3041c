"""Training windows from a list of clips: cut and degraded anew for every step, in any process, with nothing to save.

What window i of step s is follows from the seed, s and i alone: so a run that is resumed sees what it would have seen,
and several processes see together what one would see. A step is of videos or of pictures, and all its windows share
how many frames were dropped and where between keyframes they begin, so that they stack.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import numpy as np
import torch
from torch import Tensor

from diffst.flow import neighbour_flows
from diffst.reach import CONTEXT_KEYFRAMES
from diffst.training.ahead import made_ahead
from diffst.training.degradation import FACTOR
from diffst.wan.training.degradation import degrade_second_order, draw_second_order
from diffst.wan.training.manifest import Clip
from diffst.wan.training.sources import Image, read_frames

DROP_FACTORS = range(2, 9)  # one frame of so many is kept
PICTURE_RATE = Fraction(
    1
)  # frames a second: a picture has the bits of a second of video, or it is a blot


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the windows of a step have in common."""

    kind: str
    """`video` or `image`."""
    num_targets: int
    """Frames to learn, T."""
    factor: int
    """m: of so many frames one is kept."""
    phase: int
    """Of the first target: frames after its keyframe."""

    @property
    def num_keyframes(self) -> int:
        """K, with those around the targets."""
        if self.kind == "image":
            return 1
        last = -(-(self.phase + self.num_targets - 1) // self.factor)  # rounded up
        return last + 1 + 2 * CONTEXT_KEYFRAMES

    @property
    def num_frames(self) -> int:
        """Frames that are read, from the first keyframe to the last."""
        return (self.num_keyframes - 1) * self.factor + 1

    @property
    def first_target(self) -> int:
        """Among the frames that are read."""
        return 0 if self.kind == "image" else CONTEXT_KEYFRAMES * self.factor + self.phase

    @property
    def instants(self) -> list[tuple[int, float]]:
        """Of the targets: keyframe and the way from it to the next, in [0, 1)."""
        numbers = range(self.first_target, self.first_target + self.num_targets)
        return [(n // self.factor, n % self.factor / self.factor) for n in numbers]


@dataclass(frozen=True, kw_only=True)
class ClipBatch:
    """B windows as tensors, channels first."""

    keyframes: Tensor
    """(B, K, 3, h, w) uint8: the degraded frames that are kept."""
    flows: Tensor
    """(B, K - 1, 2, 2, h, w) float32: as `neighbour_flows` gives them."""
    small: Tensor
    """(B, T, 3, h, w) uint8: the degraded frames at the targets' instants, dropped ones too; what CFCA learns."""
    targets: Tensor
    """(B, T, 3, 4h, 4w) uint8: the truth."""
    instants: list[tuple[int, float]]
    """Of the T targets, for all windows: keyframe and alpha in [0, 1)."""
    interpolate: Tensor
    """(B,) bool: whether the frames between keyframes are true motion."""


class ClipWindows:
    """Windows of the accepted clips of a list."""

    def __init__(
        self,
        clips: list[Clip],
        *,
        frames: int,
        crop: int,
        batch_windows: int,
        image_share: float,
        seed: int,
        num_workers: int = 0,
    ) -> None:
        """Take the clips that are long and large enough.

        Args:
            clips: Rejected ones are left out.
            frames: Targets of a window of video, T, 4 k + 1.
            crop: Side of a window at low resolution, in pixels, an even number.
            batch_windows: Windows a step and process.
            image_share: Share of the steps that are of pictures, 0 to 1.
            seed: Of everything that is drawn.
            num_workers: Processes that make windows ahead; 0 makes them when they are asked for.

        Raises:
            ValueError: There is nothing to learn from.
        """
        large = [c for c in clips if not c.rejected and min(c.width, c.height) >= crop * FACTOR]
        longest = max(
            Plan(kind="video", num_targets=frames, factor=m, phase=m - 1).num_frames
            for m in DROP_FACTORS
        )
        self.pools = {
            "video": [c for c in large if c.kind == "video" and c.num_frames >= longest],
            "image": [c for c in large if c.kind == "image"],
        }
        self.left_out: list[str] = []
        """In a sentence for each kind of clip: how many are used, where not all are."""
        for kind, share in (("video", 1 - image_share), ("image", image_share)):
            if share:
                long = f" and {longest} frames long" if kind == "video" else ""
                wanted = f"at least {crop * FACTOR} pixels wide and high{long}"
                self._count(kind, wanted, [c for c in clips if c.kind == kind and not c.rejected])
        self.frames, self.crop, self.batch_windows = frames, crop, batch_windows
        self.image_share, self.seed, self.num_workers = image_share, seed, num_workers

    def _count(self, kind: str, wanted: str, accepted: list[Clip]) -> None:
        """Note how many of the accepted clips of a kind are as is `wanted`, or raise ValueError if none is."""
        used = len(self.pools[kind])
        if not used:
            raise ValueError(f"the list of clips has no {kind} {wanted}")
        if used < len(accepted):
            self.left_out.append(
                f"{used} of {len(accepted)} {kind}s are used; the others are not {wanted}"
            )

    def plan(self, step: int) -> Plan:
        """What the windows of a step have in common."""
        rng = np.random.default_rng((self.seed, step))
        if rng.random() < self.image_share:
            return Plan(kind="image", num_targets=1, factor=1, phase=0)
        factor = int(rng.integers(DROP_FACTORS.start, DROP_FACTORS.stop))
        phase = int(rng.integers(factor))
        return Plan(kind="video", num_targets=self.frames, factor=factor, phase=phase)

    def batch(self, step: int, rows: range) -> ClipBatch:
        """Some windows of a step, by their numbers among all of the step's.

        Raises:
            ValueError: A file is not what the list says, or cannot be read.
            RuntimeError: A codec failed.
        """
        plan = self.plan(step)
        # From 1 on: numpy takes (seed, step, 0) for (seed, step), which is the plan's.
        draws = [np.random.default_rng((self.seed, step, row + 1)) for row in rows]
        windows = [self._window(plan, rng) for rng in draws]
        small, targets = (torch.stack([w[part] for w in windows]) for part in (0, 1))
        keyframes = small[:, :: plan.factor]
        shown = slice(plan.first_target, plan.first_target + plan.num_targets)
        return ClipBatch(
            keyframes=keyframes.contiguous(),
            flows=torch.stack([neighbour_flows(window) for window in keyframes]),
            small=small[:, shown].contiguous(),
            targets=targets,
            instants=plan.instants,
            interpolate=torch.ones(len(windows), dtype=torch.bool),  # what is not was filtered out
        )

    def batches(self, *, first_step: int, process: int, num_processes: int) -> Iterator[ClipBatch]:
        """The share of process number `process`, of steps `first_step`, `first_step` + 1, ... without end."""
        if not 0 <= process < num_processes:
            raise ValueError(f"there is no process {process} of {num_processes}")
        rows = range(process * self.batch_windows, (process + 1) * self.batch_windows)
        make = partial(self.batch, rows=rows)
        return made_ahead(make, first_step=first_step, num_workers=self.num_workers)

    def _window(self, plan: Plan, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Degraded frames (F, 3, h, w), none dropped, and the true targets (T, 3, 4h, 4w), uint8."""
        pool = self.pools[plan.kind]
        clip = pool[int(rng.integers(len(pool)))]
        first = int(rng.integers(clip.num_frames - plan.num_frames + 1))
        frames = read_frames(clip, first, plan.num_frames)
        frames = turned(cropped(frames, self.crop * FACTOR, rng), rng)
        # A video of one frame in `factor` lasts as long, but the codecs saw them all: space first, then time.
        rate = clip.frame_rate if clip.kind == "video" else PICTURE_RATE
        small = degrade_second_order(frames, draw_second_order(rng), frame_rate=rate)
        targets = frames[plan.first_target : plan.first_target + plan.num_targets]
        return channels_first(small), channels_first(targets)


def cropped(frames: Image, side: int, rng: np.random.Generator) -> Image:
    """A square of all frames, (F, side, side, 3), anywhere.

    Raises:
        ValueError: The frames are smaller.
    """
    height, width = frames.shape[1:3]
    if min(height, width) < side:
        raise ValueError(f"frames of {width}x{height} hold no square of {side}")
    top, left = (int(rng.integers(length - side + 1)) for length in (height, width))
    return frames[:, top : top + side, left : left + side]


def turned(frames: Image, rng: np.random.Generator) -> Image:
    """The frames, or their mirror image, forwards or backwards in time: four ways, all as likely."""
    if rng.random() < 0.5:
        frames = frames[:, :, ::-1]
    return frames[::-1] if rng.random() < 0.5 else frames


def channels_first(frames: Image) -> Tensor:
    """(F, H, W, 3) as a tensor (F, 3, H, W) of its own memory."""
    return torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))
