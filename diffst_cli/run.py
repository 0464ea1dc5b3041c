"""The journey of one video: probe it, plan its segments, make each one's piece, join, check, name it.

`scanning` looks through the input and plans, in a thread of its own and ahead of the work;
`making` takes frames from the reader through the model to the writer, segment by segment; `work`
keeps what is finished, so that the same command goes on after whatever stopped it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING

from diffst.wan.names import TINY_DECODER
from diffst_cli.cluster import ray_starters, resolve_device
from diffst_cli.crew import Crew, agreed
from diffst_cli.dealer import Request
from diffst_cli.devices import local_starters
from diffst_cli.errors import UserError
from diffst_cli.forecast import forecast_disk
from diffst_cli.interrupts import interrupts_deferred
from diffst_cli.job import UpscaleJob
from diffst_cli.libraries import load_libraries
from diffst_cli.making import Recipient, SegmentMaker, make_all
from diffst_cli.memory import keep_freed_memory, peak_bytes
from diffst_cli.pieces import Piece
from diffst_cli.planner import cannot_load, estimate_frames, plan_run
from diffst_cli.progress import Reporter
from diffst_cli.reader import require_start
from diffst_cli.recipe import make_recipe
from diffst_cli.scanning import looked_through
from diffst_cli.stages import Stages
from diffst_cli.stepping import SteppingModel
from diffst_cli.summary import RunSummary
from diffst_cli.unchanged import InputSeal
from diffst_cli.work import Work, changes
from diffst_cli.worker import Task

if TYPE_CHECKING:
    from types import TracebackType

    from diffst.upscaler import UpscaleModel
    from diffst_cli.planner import RunPlan
    from diffst_cli.probe import VideoInfo
    from diffst_cli.receipt import Receipt
    from diffst_cli.writer import Output

log = logging.getLogger(__name__)


def run_job(
    job: UpscaleJob, *, model: UpscaleModel | None = None, reporter: Reporter | None = None
) -> RunSummary:
    """Makes one video from another; the caller looks whether the receipt is `ok`.

    Args:
        job: What to do.
        model: The model, if it is loaded already; else that is done once input and output are known to be good.
        reporter: Told how it goes; None for nobody.

    Raises:
        UserError: The input, the output or the model is not usable, or a stage failed. Nothing is left under the
            output's name then, nor on KeyboardInterrupt; the next call with the same job goes on from finished pieces.
    """
    journey = Journey(job, reporter or Reporter(), job.input.name)
    journey.begin(model, None)
    return journey.complete()


def open_model(job: UpscaleJob) -> UpscaleModel:
    """The model that a job names.

    Raises:
        UserError: It does not exist, was not downloaded, is damaged, or its device is not there.
    """
    load_libraries()
    from diffst.upscaler import load_model
    from diffst_cli.downloaded import require_ready

    keep_freed_memory()
    require_ready(job.model)
    if job.decoder == "tiny":
        require_ready(TINY_DECODER)
    try:
        return load_model(
            job.model,
            device=job.device,
            precision=job.precision,
            sampling=job.sampling,
            decoder=job.decoder,
        )
    except (ValueError, KeyError, FileNotFoundError) as error:
        reason = error.args[0] if isinstance(error, KeyError) and error.args else error
        raise cannot_load(job.model, reason) from error


def new_crew(job: UpscaleJob) -> Crew:
    """The workers of a job that is shared out, and of others with the same devices; none is started yet."""
    if job.ray is not None:
        return Crew(lambda: ray_starters(resolve_device(job), open_model))
    return Crew(lambda: local_starters(job, open_model))


class Journey:
    """One video's way from the input to the output; owns its folder, threads and channels on the way.

    In two steps, between which a crew makes the pieces, perhaps beside those of other videos. A step
    that fails lets go of everything.
    """

    def __init__(self, job: UpscaleJob, reporter: Reporter, name: str) -> None:
        """Take what to do, whom to tell, and what they are told that is made."""
        self._job = job
        self._reporter = reporter
        self._name = name
        self._stages = Stages()
        self._frames_resumed = 0  # made by runs before this one
        self._held = ExitStack()  # between the steps
        self._request: Request | None = None  # to a crew

    def begin(self, model: UpscaleModel | None, crew: Crew | None) -> None:
        """Everything until pieces are made: probe, plan, take up earlier work, have the crew begin.

        Args:
            model: The model, if it is loaded already.
            crew: The workers, where the job is shared out and they are there already.

        Raises: as `run_job`.
        """
        from diffst_cli.probe import probe

        with ExitStack() as stack:
            stack.enter_context(self._told())
            self._started = time.perf_counter()
            if self._job.ray is not None:
                self._job = resolve_device(self._job)
            job = self._job
            self._reporter.stage("opening")
            self._info = info = probe(job.input)
            self._seal = InputSeal(info)
            log.debug("%s: %s", job.input, info)
            require_start(info, job.start)
            self._output = open_output(job, info)
            if (pictures := self._output.target.pictures) is not None:
                self._reporter.note(f"the output is pictures: `{pictures}`")
            recipe = make_recipe(job, info)  # may take seconds, for which no interrupt should wait
            with interrupts_deferred():  # until the folder is ours to clean up
                self._work = stack.enter_context(open_work(job, recipe, self._output))
            open_output(job, info)  # once more: another run of this may have ended meanwhile
            stack.enter_context(self._kept_work_told())
            self._resume()
            if job.is_shared_out:
                self._begin_with_crew(crew or stack.enter_context(new_crew(job)), stack)
            else:
                self._begin_alone(model, stack)
            self._held = stack.pop_all()

    def close(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let go of everything because of an error that came between the steps."""
        self._held.__exit__(kind, error, traceback)

    @property
    def is_made(self) -> bool:
        """Whether `complete` need not wait for a crew."""
        return self._request is None or self._request.is_over

    def complete(self) -> RunSummary:
        """The checked output, as soon as all pieces are made; raises as `run_job` does."""
        work = self._work
        with self._held:
            self._make_pieces()
            if self._seal.is_broken:
                raise self._seal.error()
            assert work.scanned is not None
            for message in work.scanned.warnings:
                self._reporter.warn(message)
            self._reporter.stage("finishing")
            with self._stages.timed("finish"):
                receipt = self._finish()
        return RunSummary(
            input=self._job.input,
            output=self._job.output,
            size=self._job.output_size(self._info),
            frame_rate=self._made_rate(),
            frames_in=work.scanned.num_keyframes,
            frames_out=work.num_planned,
            frames_resumed=self._frames_resumed,
            seconds=time.perf_counter() - self._started,
            stage_seconds=self._stages.seconds(),
            peak_memory_bytes=peak_bytes(),
            receipt=replace(receipt, notes=(*work.scanned.warnings, *receipt.notes)),
        )

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Inside, the reporter shows this video."""
        self._reporter.begin(self._name)
        try:
            yield
        except BrokenPipeError as error:  # Typer would take it for a closed stdout
            raise UserError(
                "ffmpeg stopped unexpectedly", hint="run it again with `--debug`"
            ) from error
        finally:
            self._reporter.end()

    @contextmanager
    def _kept_work_told(self) -> Iterator[None]:
        """Inside, an error that leaves finished pieces says so, or that they are of no use any more."""
        work = self._work
        try:
            yield
        except BaseException as error:
            lost = work.lost_folder(self._output.target.place)
            if isinstance(error, Exception) and lost is not None:
                told = f"the folder `{lost}` was removed while it was written to"
                raise UserError(told, hint="run it again") from error
            if isinstance(error, Exception) and self._seal.is_broken:
                work.discard()
                raise self._seal.error() from error
            if work.pieces():
                kept = f"`{work.folder}` keeps {work.contents()}"
                self._reporter.note(f"{kept}; the same command goes on")
            elif isinstance(error, KeyboardInterrupt) and work.is_worthless:
                self._reporter.note("nothing is kept, as no segment was finished")
            raise

    def _resume(self) -> None:
        """Take up what an earlier run of the same command left, and say what became of it."""
        work = self._work
        self._reporter.stage("looking for earlier work")
        if self._job.restart:
            work.discard()
            return
        self._frames_resumed = work.resume()
        if work.trouble is not None:
            self._reporter.warn(f"{work.trouble}; starting over")
        if self._frames_resumed:
            self._reporter.note(f"going on with the work in `{work.folder}`: {work.contents()}")
        elif work.others:
            other = work.others[0]
            changed = ", ".join(changes(other, work.recipe)) or "settings"
            self._reporter.warn(
                f"starting over, because this is not what `{other}` was begun with ({changed}); "
                "delete that folder if you do not want to go back to it"
            )

    def _begin_with_crew(self, crew: Crew, stack: ExitStack) -> None:
        """Have several processes, or a cluster, make the pieces."""
        self._reporter.stage("loading the model")
        crew.muster()
        on_record = self._work.way
        plan = self._settled(crew.plans(self._job, self._info))
        way = plan.rung.words if plan.device == "cpu" else on_record
        task = Task(self._job, self._work.folder, self._output.piece_settings, way)
        request = Request(task, self._recipient(), self._reporter.warn, self._stages)
        stack.enter_context(looked_through(self._job, self._info, self._work, self._stages))
        stack.enter_context(crew.asked(request, self._work))
        self._request = request
        self._make_pieces = partial(crew.wait, request)

    def _begin_alone(self, model: UpscaleModel | None, stack: ExitStack) -> None:
        """Make ready to make the pieces in this process."""
        job = self._job
        if model is None:
            self._reporter.stage("loading the model")
            with self._stages.timed("load"):
                model = open_model(job)
        plan = self._settled([plan_run(job, self._info, model.rules)])
        maker = SegmentMaker(
            job,
            self._info,
            SteppingModel(model, plan, self._reporter.warn),
            plan,
            folder=self._work.folder,
            settings=self._output.piece_settings,
            stages=self._stages,
        )
        stack.enter_context(looked_through(job, self._info, self._work, self._stages))
        self._make_pieces = partial(
            make_all, maker, self._work, self._recipient(), self._reporter.warn
        )

    def _settled(self, plans: Sequence[RunPlan]) -> RunPlan:
        """The plan that goes on record; starts over where the work that is there was made otherwise.

        Args:
            plans: Of each process that will make pieces.
        """
        work = self._work
        kept = [plan.keeping(work.way) for plan in plans]
        for sentence in dict.fromkeys(plan.sentence for plan in kept):
            self._reporter.note(sentence)
        if not all(plan.fits for plan in kept):
            self._reporter.warn("memory may run out: `diffst plan` says how much there is")
        plan = agreed(kept)
        disk = forecast_disk(plan, self._output, self._info, crf=self._job.crf)
        if disk.shortage and not self._frames_resumed:
            self._reporter.warn(disk.shortage)
        rules, way = plan.clip_rules, plan.rung.words
        is_other_way = work.way not in (None, way)
        if work.rules not in (None, rules) or (is_other_way and work.recipe["device"] == "cpu"):
            self._reporter.warn(f"clips are made otherwise than in `{work.folder}`; starting over")
            self._frames_resumed = 0
            work.discard()
        elif is_other_way:
            self._reporter.warn(f"less memory is free than when this was begun; the rest: {way}")
        work.rules, work.way = rules, way
        return plan

    def _recipient(self) -> Recipient:
        """Records finished pieces, and tells the reporter how far all is."""
        work = self._work
        estimate = estimate_frames(self._info, self._job)
        unfinished: dict[int, int] = {}
        in_work: dict[int, float] = {}
        counting = threading.Lock()  # so that no piece counts twice while it is recorded

        def tell_frames(index: int, num_frames: int) -> None:
            with counting:
                unfinished[index] = num_frames
                total = work.num_planned if work.scanned is not None else estimate
                self._reporter.advance(work.num_finished + sum(unfinished.values()), total)

        def take_piece(piece: Piece) -> None:
            with counting:
                work.record(piece)
                unfinished.pop(piece.index, None)

        def tell_clip(number: int, frames: float) -> None:
            in_work[number] = frames
            self._reporter.within(sum(in_work.values()))

        self._reporter.stage("upscaling")
        self._reporter.advance(self._frames_resumed, estimate)
        return Recipient(
            frames_written=tell_frames,
            piece_finished=take_piece,
            model_at=lambda words: self._reporter.stage(f"upscaling, {words}"),
            clip_at=tell_clip,
        )

    def _made_rate(self) -> Fraction:
        """The output's frame rate; the average over what was made, where it varies."""
        if self._job.has_constant_rate(self._info):
            return self._job.output_rate(self._info)
        *_, last = self._work.planned()
        assert last.end is not None
        return self._work.num_planned / (last.end - last.origin)

    def _finish(self) -> Receipt:
        work = self._work
        *_, last = work.planned()
        assert last.end is not None
        receipt = self._output.finish(work.pieces(), work.folder, last.origin, last.end)
        if receipt.ok:
            work.remove()
        else:
            self._reporter.note(f"what it was made of is kept in `{work.folder}`")
        for note in receipt.notes:
            self._reporter.warn(note)
        return receipt


def open_output(job: UpscaleJob, info: VideoInfo) -> Output:
    """A job's output.

    Raises:
        UserError: It cannot be written, as asked or at all.
    """
    from diffst_cli.writer import Output

    return Output(job, info)


def open_work(job: UpscaleJob, recipe: Mapping[str, str], output: Output) -> Work:
    """The unfinished work of a job, old or new.

    Raises:
        UserError: Another process is at it, or its folder cannot be used.
    """
    return Work(job.work_folder or output.target.place, job.output, recipe, output.piece_settings)
