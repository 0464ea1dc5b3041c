"""A model that meets an out-of-memory error on a GPU does what it was at again with less at once, and remembers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from diffst_cli.errors import UserError, is_out_of_memory
from diffst_cli.free_memory import give_back, limit_device
from diffst_cli.ladders import Rung
from diffst_cli.planner import RunPlan

if TYPE_CHECKING:
    from torch import Tensor

    from diffst.attempts import Made
    from diffst.pipeline import OnProgress, OnStage
    from diffst.upscaler import StreamedShot, UpscaleModel

Instant = tuple[int, float]


class Descent:
    """The way down a plan's rungs with a model; an `Attempt`, after which the next one is a rung lower.

    On the CPU it stays where it is, since a rung is seen in the pixels, and there the same command promises
    the same bits whatever happened to it.
    """

    def __init__(self, model: UpscaleModel, plan: RunPlan, on_step: Callable[[str], None]) -> None:
        """Let the model keep within the plan's limits; for the rest see `SteppingModel`."""
        self._model = model
        self._rungs = plan.rungs
        self._rung = plan.chosen
        self._is_cpu = plan.device == "cpu"
        self._lowest = plan.chosen if self._is_cpu else len(plan.rungs) - 1
        self._host_budget_bytes = plan.host_budget_bytes
        self._on_step = on_step
        limit_device(plan.device, plan.limit_bytes)
        self._keep_within()

    @property
    def rung(self) -> Rung:
        """The way in which the next clip is done."""
        return self._rungs[self._rung]

    def __call__(self, work: Callable[[], Made]) -> Made | None:
        """See `Attempt`.

        Raises:
            UserError: There is no lower rung, or it is the CPU.
        """
        try:
            return work()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if not self.may_repeat():
                raise self._no_memory() from error
        # Only here, where the error and the frames that it holds are gone, is memory free.
        give_back()
        self._step_down()
        return None

    def may_repeat(self) -> bool:
        """See `Attempt`."""
        return self._rung < self._lowest

    def _step_down(self) -> None:
        taken = self.rung.device_bytes
        below = range(self._rung + 1, self._lowest)
        # What takes as much would run out as well.
        lower = [i for i in below if self._rungs[i].device_bytes < taken]
        # Main memory that runs out is not told to the program, which is killed.
        fitting = (i for i in lower if self._rungs[i].host_bytes <= self._host_budget_bytes)
        self._rung = next(fitting, lower[0] if lower else self._lowest)
        self._on_step(
            f"memory ran out; what was at work is done again, and the rest: {self.rung.words}"
        )
        self._keep_within()

    def _no_memory(self) -> UserError:
        if self._lowest + 1 < len(self._rungs):
            return UserError(
                "memory ran out",
                hint="close what else uses it and run the same command again, or start over with a `--vram-limit`",
            )
        elsewhere = "" if self._is_cpu else ", `--device cpu`,"
        return UserError(
            "the device ran out of memory, though as little as possible was done at once",
            hint=f"try a smaller `--scale`{elsewhere} or close what else uses the memory",
        )

    def _keep_within(self) -> None:
        from diffst.limits import LimitedModel

        if isinstance(self._model, LimitedModel):
            self._model.keep_within(self.rung.limits)


class SteppingModel:
    """An `UpscaleModel` around another: starts at the plan's rung, goes down when memory runs out.

    Nothing is lost but the time of the failed attempt: only the clip at hand is done again, and of a
    shot that streams only the piece that failed. What comes later begins at the rung that worked.
    """

    def __init__(self, model: UpscaleModel, plan: RunPlan, on_step: Callable[[str], None]) -> None:
        """Take over the model, and let it keep within the plan's limits.

        Args:
            model: Any; one without `keep_within` is only ever given shorter clips.
            plan: Of the run.
            on_step: Told one sentence for each step down.
        """
        self.name = model.name
        self.rules = model.rules
        self._model = model
        self._descent = Descent(model, plan, on_step)

    @property
    def rung(self) -> Rung:
        """The way in which the next clip is done."""
        return self._descent.rung

    def __call__(
        self,
        frames: Tensor,
        instants: Sequence[Instant],
        out_size: tuple[int, int],
        on_stage: OnStage | None = None,
        first_keyframe: int = 0,
    ) -> Tensor:
        """See `UpscaleModel`.

        Raises:
            UserError: Memory runs out even with the least at once, or on the CPU.
        """
        from diffst.attempts import until_made

        return until_made(
            self._descent,
            lambda: self._make(frames, instants, out_size, on_stage, first_keyframe),
        )

    def begin_shot(
        self, out_size: tuple[int, int], on_stage: OnStage | None = None
    ) -> StreamedShot | None:
        """See `StreamingModel`; none where the model is none, or the rung's clips have parts."""
        from diffst.upscaler import StreamingModel

        if self.rung.parts > 1 or not isinstance(self._model, StreamingModel):
            return None
        return self._model.begin_shot(out_size, on_stage, self._descent)

    def watch(self, on_progress: OnProgress) -> None:
        """See `WatchedModel`; a clip that is made in parts is told part by part."""
        from diffst.upscaler import WatchedModel

        if isinstance(self._model, WatchedModel):
            self._model.watch(on_progress)

    def _make(
        self,
        frames: Tensor,
        instants: Sequence[Instant],
        out_size: tuple[int, int],
        on_stage: OnStage | None,
        first_keyframe: int,
    ) -> Tensor:
        """The clip, in as many calls as the rung has parts."""
        parts = min(self.rung.parts, len(instants))
        if parts <= 1:
            return self._model(frames, instants, out_size, on_stage, first_keyframe)
        import torch

        made = torch.empty(len(instants), 3, *out_size, dtype=frames.dtype)
        for part in shares(len(instants), parts):
            first, seen = needed(instants[part], len(frames), self.rules.context_keyframes)
            moved = [(keyframe - first, alpha) for keyframe, alpha in instants[part]]
            made[part] = self._model(
                frames[seen], moved, out_size, on_stage, first_keyframe + first
            )
        return made


def shares(num_frames: int, parts: int) -> Iterator[slice]:
    """Runs of about equal length that cover `num_frames`, in order."""
    for part in range(parts):
        yield slice(part * num_frames // parts, (part + 1) * num_frames // parts)


def needed(instants: Sequence[Instant], num_frames: int, context: int) -> tuple[int, slice]:
    """The keyframes that a model needs for some instants: the first one's index, and all of them.

    Args:
        instants: In order; at least one.
        num_frames: Keyframes there are.
        context: Further keyframes that the model sees each side.
    """
    first = max(instants[0][0] - context, 0)
    stop = min(instants[-1][0] + 1 + max(context, 1), num_frames)
    return first, slice(first, stop)
