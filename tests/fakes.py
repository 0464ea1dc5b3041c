"""A model quick enough for tests of what is around it."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from diffst.pipeline import OnProgress, OnStage
from diffst.pixels import to_float, to_integer
from diffst.upscaler import ModelRules
from diffst_cli.errors import UserError
from diffst_cli.job import UpscaleJob


@dataclass(frozen=True, kw_only=True)
class Call:
    """What a model was asked for."""

    number: int
    """1 for the first call of this model."""
    frames: Tensor
    """(T, 3, H, W), the keyframes."""
    instants: Sequence[tuple[int, float]]
    first_keyframe: int


class BilinearModel:
    """Bilinear enlargement; new frames are mixes of their two neighbours."""

    name = "bilinear"

    def __init__(self, *, clip: int = 4, overlap: int = 1, context: int = 1) -> None:
        self.rules = ModelRules(
            clip_keyframes=clip,
            overlap_keyframes=overlap,
            context_keyframes=context,
        )
        self._num_calls = 0

    def before(self, call: Call) -> None:
        """What a model made from this one does first on every call: raise, wait, remember."""

    def __call__(
        self,
        frames: Tensor,
        instants: Sequence[tuple[int, float]],
        out_size: tuple[int, int],
        on_stage: OnStage | None = None,
        first_keyframe: int = 0,
    ) -> Tensor:
        self._num_calls += 1
        self.before(
            Call(
                number=self._num_calls,
                frames=frames,
                instants=instants,
                first_keyframe=first_keyframe,
            )
        )
        given = to_float(frames)
        mixed = [
            given[keyframe]
            if alpha == 0
            else torch.lerp(given[keyframe], given[keyframe + 1], alpha)
            for keyframe, alpha in instants
        ]
        large = F.interpolate(torch.stack(mixed), size=out_size, mode="bilinear", antialias=True)
        if on_stage is not None:
            on_stage("decode", 0.001)
        return to_integer(large, frames.dtype)


def open_bilinear(_job: UpscaleJob) -> BilinearModel:
    """Stands for `open_model`, in other processes too."""
    return BilinearModel()


def open_counted(job: UpscaleJob) -> BilinearModel:
    """As `open_bilinear`; leaves a line in the folder `loads` for each time that a process calls it."""
    job.output.parent.mkdir(exist_ok=True)
    with (job.output.parent / "loads").open("a", encoding="utf-8") as file:
        file.write(f"{os.getpid()}\n")
    return BilinearModel()


def open_none(_job: UpscaleJob) -> BilinearModel:
    """Stands for a model that cannot be had."""
    raise UserError("there is no such model")


class MeetingModel(BilinearModel):
    """Makes nothing before as many processes as `count` are at work, which leave marks in a folder."""

    def __init__(self, folder: Path, count: int) -> None:
        super().__init__()
        self._folder = folder
        self._count = count

    def before(self, call: Call) -> None:
        (self._folder / f"{os.getpid()}.mark").touch()
        deadline = time.monotonic() + 60
        while len(list(self._folder.glob("*.mark"))) < self._count:
            if time.monotonic() > deadline:
                raise UserError("no other process is at work")
            time.sleep(0.02)


def open_meeting(job: UpscaleJob) -> BilinearModel:
    """A model of two processes that wait for each other."""
    return MeetingModel(job.input.parent, 2)


class SlowModel(BilinearModel):
    """Takes half a second a call."""

    def before(self, call: Call) -> None:
        time.sleep(0.5)


def open_slow(_job: UpscaleJob) -> BilinearModel:
    """A model that leaves time to do something to it."""
    return SlowModel()


class TellingModel(BilinearModel):
    """Tells of two steps in every call."""

    on_progress: OnProgress

    def watch(self, on_progress: OnProgress) -> None:
        self.on_progress = on_progress

    def before(self, call: Call) -> None:
        for done in (0, 1):
            self.on_progress("denoise", done, 2)


def open_telling(_job: UpscaleJob) -> BilinearModel:
    """A model that tells how far it is."""
    return TellingModel()


class OnceModel(BilinearModel):
    """Does something bad on its second call, unless a process that did it left `mark` behind; without one, always."""

    def __init__(self, mark: Path | None, bad: Callable[[], None]) -> None:
        super().__init__()
        self._mark = mark
        self._bad = bad

    def before(self, call: Call) -> None:
        if call.number == 2 and not (self._mark and self._mark.exists()):
            if self._mark:
                self._mark.touch()
            self._bad()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hang() -> None:
    time.sleep(3600)


def open_mortal(job: UpscaleJob) -> BilinearModel:
    """A model whose first process is killed."""
    return OnceModel(job.input.with_name("killed"), die)


def open_hanging(job: UpscaleJob) -> BilinearModel:
    """A model whose first process hangs."""
    return OnceModel(job.input.with_name("hung"), hang)


def open_deadly(_job: UpscaleJob) -> BilinearModel:
    """A model that kills every process."""
    return OnceModel(None, die)


class BrokenModel(BilinearModel):
    """Never works."""

    def before(self, call: Call) -> None:
        raise UserError("the disk is full", hint="free some space")


def open_broken(_job: UpscaleJob) -> BilinearModel:
    """A model that never works."""
    return BrokenModel()
