"""The journey of one video: probe it, plan its segments, make each one's piece, join, check, name it.

`scanning` looks through the input and plans, in a thread of its own and ahead of the work;
`making` takes frames from the reader through the model to the writer, segment by segment; `work`
keeps what is finished, so that the same command goes on after whatever stopped it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING

from diffst.wan.names import TINY_DECODER
from diffst_cli.clips import ClipRules
from diffst_cli.cluster import ray_starters, resolve_device
from diffst_cli.crew import Crew
from diffst_cli.devices import local_starters
from diffst_cli.errors import UserError
from diffst_cli.interrupts import interrupts_deferred
from diffst_cli.job import UpscaleJob
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
from diffst_cli.work import Work, changes
from diffst_cli.worker import Task

if TYPE_CHECKING:
    from diffst.upscaler import UpscaleModel
    from diffst_cli.probe import VideoInfo
    from diffst_cli.receipt import Receipt
    from diffst_cli.writer import Output

log = logging.getLogger(__name__)

MakeAll = Callable[[Work, Recipient, Callable[[str], None]], None]
"""Makes every piece that a work lacks; tells the recipient, and warns."""


def run_job(
    job: UpscaleJob,
    *,
    model: UpscaleModel | None = None,
    crew: Crew | None = None,
    reporter: Reporter | None = None,
    name: str | None = None,
) -> RunSummary:
    """Makes one video from another; the caller looks whether the receipt is `ok`.

    Args:
        job: What to do.
        model: The model, if it is loaded already; else it is loaded once the input and the output
            are known to be good.
        crew: The workers that stay for the next job too, where the job is shared out.
        reporter: Told how it goes; None for nobody.
        name: What the reporter is told that is made; None for the input's.

    Raises:
        UserError: The input, the output or the model is not usable, or a stage failed. Nothing is
            left under the output's name then, nor on KeyboardInterrupt; finished pieces are kept,
            and the next call with the same job goes on from there.
    """
    reporter = reporter or Reporter()
    reporter.begin(name or job.input.name)
    try:
        if job.ray is not None:
            job = resolve_device(job)
        return _Journey(job, reporter).run(model, crew)
    except BrokenPipeError as error:  # Typer would take it for a closed stdout
        raise UserError(
            "ffmpeg stopped unexpectedly", hint="run it again with `--debug`"
        ) from error
    finally:
        reporter.end()


def open_model(job: UpscaleJob) -> UpscaleModel:
    """The model that a job names.

    Raises:
        UserError: It does not exist, was not downloaded, is damaged, or its device is not there.
    """
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
    return Crew(lambda: local_starters(job.devices, open_model))


class _Journey:
    """One run's way from the input to the output; owns its threads and channels while it runs."""

    def __init__(self, job: UpscaleJob, reporter: Reporter) -> None:
        self._job = job
        self._reporter = reporter
        self._stages = Stages()
        self._frames_resumed = 0  # made by runs before this one

    def run(self, model: UpscaleModel | None, crew: Crew | None) -> RunSummary:
        """Everything, from looking at the input to the checked output."""
        from diffst_cli.probe import probe

        started = time.perf_counter()
        job = self._job
        self._reporter.stage("opening")
        info = probe(job.input)
        require_start(info, job.start)
        size = job.output_size(info)
        log.debug("%s: %s", job.input, info)
        output = open_output(job, info)
        with ExitStack() as stack:
            recipe = make_recipe(job, info)  # may take seconds, for which no interrupt should wait
            with interrupts_deferred():  # until the folder is ours to clean up
                work = stack.enter_context(open_work(job, recipe, output))
            stack.enter_context(self._kept_work_told(work))
            self._resume(work)
            if job.is_shared_out:
                crew = crew or stack.enter_context(new_crew(job))
                make_all = self._muster(crew, work, output)
            else:
                make_all = self._equip(info, model, work, output)
            self._reporter.stage("upscaling")
            self._make(info, work, make_all)
            self._reporter.stage("finishing")
            with self._stages.timed("finish"):
                receipt = self._finish(work, output)
        return RunSummary(
            input=job.input,
            output=job.output,
            size=size,
            frame_rate=self._made_rate(info, work),
            frames_in=work.scanned.num_keyframes if work.scanned is not None else 0,
            frames_out=work.num_planned,
            frames_resumed=self._frames_resumed,
            seconds=time.perf_counter() - started,
            stage_seconds=self._stages.seconds(),
            peak_memory_bytes=peak_bytes(),
            receipt=receipt,
        )

    def _resume(self, work: Work) -> None:
        """Take up what an earlier run of the same command left, and say what became of it."""
        self._reporter.stage("looking for earlier work")
        if self._job.restart:
            work.discard()
            return
        self._frames_resumed = work.resume()
        if work.trouble is not None:
            self._reporter.warn(f"{work.trouble}; starting over")
        if self._frames_resumed:
            done = f"{self._frames_resumed} frames are done"
            self._reporter.note(f"going on with the work in `{work.folder}`: {done}")
        elif work.others:
            other = work.others[0]
            changed = ", ".join(changes(other, work.recipe)) or "settings"
            self._reporter.warn(
                f"starting over, because this is not what `{other}` was begun with ({changed}); "
                "delete that folder if you do not want to go back to it"
            )

    def _settle(self, work: Work, rules: ClipRules, way: str) -> None:
        """Puts on record how clips are cut and made; starts over where the work that is there was made otherwise."""
        is_other_way = work.way not in (None, way)
        if work.rules not in (None, rules) or (is_other_way and work.recipe["device"] == "cpu"):
            self._reporter.warn(f"clips are made otherwise than in `{work.folder}`; starting over")
            self._frames_resumed = 0
            work.discard()
        elif is_other_way:
            self._reporter.warn(f"less memory is free than when this was begun; the rest: {way}")
        work.rules, work.way = rules, way

    @contextmanager
    def _kept_work_told(self, work: Work) -> Iterator[None]:
        """Inside, an error that leaves finished pieces says so."""
        try:
            yield
        except BaseException:
            if work.pieces():
                done = f"{sum(piece.num_frames for piece in work.pieces())} finished frames"
                self._reporter.note(f"{done} are kept in `{work.folder}`; the same command goes on")
            raise

    def _muster(self, crew: Crew, work: Work, output: Output) -> MakeAll:
        """What makes the pieces in several processes, or on a cluster."""
        self._reporter.stage("loading the model")
        task = Task(self._job, work.folder, output.piece_settings, work.way)
        ready = crew.begin(task, self._reporter.note)
        self._settle(work, ready.clip_rules, ready.way)
        return partial(crew.make_all, stages=self._stages)

    def _equip(
        self, info: VideoInfo, model: UpscaleModel | None, work: Work, output: Output
    ) -> MakeAll:
        """What makes the pieces in this process."""
        job = self._job
        if model is None:
            self._reporter.stage("loading the model")
            with self._stages.timed("load"):
                model = open_model(job)
        plan = plan_run(job, info, model.rules).keeping(work.way)
        self._reporter.note(plan.sentence)
        if not plan.fits:
            self._reporter.warn("memory may run out: `diffst plan` says how much there is")
        self._settle(work, plan.clip_rules, plan.rung.words)
        stepping = SteppingModel(model, plan, self._reporter.warn)
        maker = SegmentMaker(
            job,
            info,
            stepping,
            plan,
            folder=work.folder,
            settings=output.piece_settings,
            stages=self._stages,
        )
        return partial(make_all, maker)

    def _make(self, info: VideoInfo, work: Work, make_all: MakeAll) -> None:
        """Every piece that is not finished yet, while the input is still looked through."""
        estimate = estimate_frames(info, self._job)
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

        self._reporter.advance(self._frames_resumed, estimate)
        recipient = Recipient(
            frames_written=tell_frames,
            piece_finished=take_piece,
            model_at=lambda words: self._reporter.stage(f"upscaling, {words}"),
            clip_at=tell_clip,
        )
        with looked_through(self._job, info, work, self._stages):
            make_all(work, recipient, self._reporter.warn)
        assert work.scanned is not None
        for message in work.scanned.warnings:
            self._reporter.warn(message)

    def _made_rate(self, info: VideoInfo, work: Work) -> Fraction:
        """The output's frame rate; the average over what was made, where it varies."""
        if self._job.has_constant_rate(info):
            return self._job.output_rate(info)
        *_, last = work.planned()
        assert last.end is not None
        return work.num_planned / (last.end - last.origin)

    def _finish(self, work: Work, output: Output) -> Receipt:
        *_, last = work.planned()
        assert last.end is not None
        receipt = output.finish(work.pieces(), work.folder, last.origin, last.end)
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
    from diffst_cli.writer import Output, OutputSettings

    settings = OutputSettings(
        path=job.output,
        size=job.output_size(info),
        frame_rate=job.output_rate(info),
        constant_rate=job.has_constant_rate(info),
        codec=job.codec,
        crf=job.crf,
        preset=job.preset,
        overwrite=job.overwrite,
    )
    return Output(info, settings, start=job.start, duration=job.duration)


def open_work(job: UpscaleJob, recipe: Mapping[str, str], output: Output) -> Work:
    """The unfinished work of a job, old or new.

    Raises:
        UserError: Another process is at it, or its folder cannot be used.
    """
    parent = job.work_folder or job.output.absolute().parent
    return Work(parent, job.output, recipe, output.piece_settings)
