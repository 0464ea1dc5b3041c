"""Several workers that make pieces of one output, each on a device of its own.

Workers are processes of this machine, or actors on others (`cluster`). Segments are dealt out one at
a time, in order, to whoever is free. A worker that dies, or is silent for too long, is replaced, and
its segment dealt again. A piece depends on its segment alone, so how many workers there are, and
which of them made what, is not seen in the output.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from diffst_cli.clips import ClipRules
from diffst_cli.errors import UserError
from diffst_cli.job import UpscaleJob
from diffst_cli.making import Recipient
from diffst_cli.pieces import PieceSettings
from diffst_cli.segments import Segment
from diffst_cli.stages import Stages
from diffst_cli.work import Work
from diffst_cli.worker import Failed, Finished, Made, ModelAt, Ready, Warned, work_for

if TYPE_CHECKING:
    from diffst.upscaler import UpscaleModel

START_SECONDS = 900.0  # for a process to load its model
SILENT_SECONDS = (
    1800.0  # between two frames, or steps of a long clip; a process silent for longer hangs
)
MAX_ATTEMPTS = 3  # at one segment, before it is blamed for what happens to processes
STOP_SECONDS = 5.0  # for a process to end by itself

OpenModel = Callable[[UpscaleJob], "UpscaleModel"]


class WorkerLost(Exception):  # noqa: N818 - it is replaced
    """A process died or hung."""


class CrewMember(Protocol):
    """One that makes pieces, elsewhere, and the way to talk to it; used by one thread at a time."""

    name: str
    """Where it works."""

    def receive(self, timeout_seconds: float) -> Any:
        """What it says next.

        Raises:
            WorkerLost: It died, or says nothing for too long.
            UserError: It says that a step failed.
        """

    def send(self, segment: Segment | None) -> None:
        """Give it a segment to make; None lets it end.

        Raises:
            WorkerLost: It died.
        """

    def stop(self) -> None:
        """End it at once; a thread that waits in `receive` gets WorkerLost. Safe to call twice."""


class LocalWorker:
    """One process of this machine, as a `CrewMember`."""

    def __init__(self, job: UpscaleJob, *arguments: Any) -> None:
        """Start the process; `arguments` are those of `work_for` after the job."""
        self.name = job.device
        context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
        self._connection: Connection
        self._connection, other = context.Pipe()
        self._process: SpawnProcess = context.Process(
            target=work_for, args=(other, job, *arguments), name="diffst-worker", daemon=True
        )
        self._process.start()
        other.close()

    def receive(self, timeout_seconds: float) -> Any:
        """What the process says next.

        Raises:
            WorkerLost: It died, or says nothing for too long.
            UserError: It says that a step failed.
        """
        try:
            if not self._connection.poll(timeout_seconds):
                raise WorkerLost(f"was silent for {timeout_seconds:.0f} s")
            message = self._connection.recv()
        except (EOFError, OSError) as error:
            self._process.join(STOP_SECONDS)
            raise WorkerLost(f"ended with status {self._process.exitcode}") from error
        if isinstance(message, Failed):
            raise UserError(message.message, hint=message.hint)
        return message

    def send(self, segment: Segment | None) -> None:
        """Give the process a segment to make; None lets it end.

        Raises:
            WorkerLost: It died.
        """
        try:
            self._connection.send(segment)
        except OSError as error:
            raise WorkerLost("ended") from error

    def stop(self) -> None:
        """End the process at once. Safe to call twice."""
        self._process.kill()
        self._process.join()
        self._connection.close()


def local_starters(
    job: UpscaleJob, folder: Path, settings: PieceSettings, open_model: OpenModel
) -> list[Callable[[], CrewMember]]:
    """What starts a process for each of the job's devices.

    Args:
        job: What to do.
        folder: For the pieces.
        settings: How they are encoded.
        open_model: Gives the model of a job; importable by name from another process.
    """
    jobs = [replace(job, device=device, devices=()) for device in job.devices]
    return [partial(LocalWorker, each, folder, settings, open_model) for each in jobs]


class Crew:
    """The workers of one run. Use as a context manager: leaving it ends them all."""

    def __init__(self, starters: Sequence[Callable[[], CrewMember]], stages: Stages) -> None:
        """Start all workers.

        Args:
            starters: Each starts one, and those that replace it.
            stages: Counts the seconds of all of them.
        """
        self._starters = starters
        self._stages = stages
        self._starting = threading.Lock()
        self._is_stopped = False
        self._num_given_up = 0
        self._workers: list[CrewMember | None] = [None] * len(starters)
        for number in range(len(starters)):
            self._start(number)

    def _start(self, number: int) -> CrewMember:
        with self._starting:
            if self._is_stopped:
                raise WorkerLost("is not wanted any more")
            worker = self._starters[number]()
            self._workers[number] = worker
            return worker

    def wait_until_ready(self, note: Callable[[str], None]) -> ClipRules:
        """How clips are cut, which the model decides; notes what the workers plan to do.

        Raises:
            UserError: A process could not load it.
        """
        rules: list[ClipRules] = []
        plans: set[str] = set()
        for worker in self._workers:
            assert worker is not None
            try:
                message = worker.receive(START_SECONDS)
            except WorkerLost as error:
                raise UserError(
                    f"a worker on `{worker.name}` {error} while it loaded the model"
                ) from error
            assert isinstance(message, Ready)
            if message.plan not in plans:
                note(message.plan)
            plans.add(message.plan)
            rules.append(message.clip_rules)
        return rules[0]

    def make_all(self, work: Work, recipient: Recipient, warn: Callable[[str], None]) -> None:
        """Make every piece that `work` lacks, while more segments may be found.

        Raises:
            UserError: A step failed, or a segment ended every process that tried it.
        """
        dealer = _Dealer(work)
        threads = [
            threading.Thread(
                target=self._serve, args=(number, dealer, recipient, warn), daemon=True
            )
            for number in range(len(self._workers))
        ]
        for thread in threads:
            thread.start()
        try:
            dealer.wait()
        finally:
            dealer.stop()
            self.stop()
            for thread in threads:
                thread.join()

    def _serve(
        self, number: int, dealer: _Dealer, recipient: Recipient, warn: Callable[[str], None]
    ) -> None:
        """Deal segments to one worker, and to those that replace it."""
        worker = self._workers[number]
        try:
            # A worker is there before a segment is taken, which others could make meanwhile.
            while (worker := worker or self._replacement(number, dealer, warn)) is not None:
                segment = dealer.take()
                if segment is None:
                    return
                try:
                    self._make(worker, segment, recipient, warn)
                    dealer.finish(segment)
                except WorkerLost as error:
                    worker.stop()
                    if not dealer.is_stopped:
                        warn(f"the worker on `{worker.name}` {error}; its segment is dealt again")
                    worker = None
                    dealer.give_back(segment)
        except BaseException as error:
            dealer.fail(error)

    def _replacement(
        self, number: int, dealer: _Dealer, warn: Callable[[str], None]
    ) -> CrewMember | None:
        """Another worker instead of one that was lost, ready; None where there is none, or no need.

        Raises:
            UserError: It failed, or no worker is left.
        """
        for _ in range(MAX_ATTEMPTS):
            if dealer.is_stopped:
                return None
            try:
                worker = self._start(number)
                worker.receive(START_SECONDS)
                return worker
            except WorkerLost:
                started = self._workers[number]
                if started is not None:
                    started.stop()
        if dealer.is_stopped:
            return None
        with self._starting:
            self._num_given_up += 1
            num_left = len(self._workers) - self._num_given_up
        if num_left == 0:
            raise UserError("no worker is left, and none could be started again")
        warn(f"a worker could not be started again; going on with {num_left}")
        return None

    def _make(
        self,
        worker: CrewMember,
        segment: Segment,
        recipient: Recipient,
        warn: Callable[[str], None],
    ) -> None:
        worker.send(segment)
        while True:
            message = worker.receive(SILENT_SECONDS)
            if isinstance(message, Made):
                recipient.frames_written(segment.index, message.num_frames)
            elif isinstance(message, ModelAt):
                recipient.model_at(message.words)
            elif isinstance(message, Warned):
                warn(message.message)
            elif isinstance(message, Finished):
                recipient.piece_finished(message.piece)
                for name, seconds in message.stage_seconds.items():
                    self._stages.add(name, seconds)
                return

    def stop(self) -> None:
        """End every worker at once, and start none again."""
        with self._starting:
            self._is_stopped = True
            workers = list(self._workers)
        for worker in workers:
            if worker is not None:
                worker.stop()

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Dealer:
    """The queue of segments, shared by the threads that serve the processes."""

    def __init__(self, work: Work) -> None:
        self._planned = (segment for segment in work.planned() if not work.has(segment))
        self._planning = threading.Lock()
        self._changed = threading.Condition()
        self._returned: list[Segment] = []
        self._attempts: dict[int, int] = {}
        self._num_out = 0  # dealt and not finished
        self._is_planned = False
        self._error: BaseException | None = None
        self.is_stopped = False

    def take(self) -> Segment | None:
        """The next segment to make; None when all are made, or none is wanted any more."""
        with self._changed:
            self._num_out += 1  # before the plan is asked, so that nobody thinks all is done
        with self._planning:
            with self._changed:
                segment = self._returned.pop(0) if self._returned else None
            if segment is None and not self._is_planned and not self.is_stopped:
                segment = next(self._planned, None)
                self._is_planned = segment is None
        with self._changed:
            if segment is None:
                self._num_out -= 1
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._returned or self._is_over)
                if self._is_over:
                    return None
                segment = self._returned.pop(0)
                self._num_out += 1
            if self.is_stopped:
                return None
        return segment

    @property
    def is_done(self) -> bool:
        """Whether every segment is made."""
        return self._is_planned and self._num_out == 0 and not self._returned

    @property
    def _is_over(self) -> bool:
        return self.is_stopped or self.is_done

    def finish(self, _segment: Segment) -> None:
        """Say that a segment is made."""
        with self._changed:
            self._num_out -= 1
            self._changed.notify_all()

    def give_back(self, segment: Segment) -> None:
        """Deal a segment again.

        Raises:
            UserError: It was dealt too often.
        """
        with self._changed:
            self._attempts[segment.index] = self._attempts.get(segment.index, 0) + 1
            self._returned.append(segment)
            self._num_out -= 1
            self._changed.notify_all()
            if self._attempts[segment.index] >= MAX_ATTEMPTS and not self.is_stopped:
                raise UserError(
                    f"segment {segment.index} ended {MAX_ATTEMPTS} worker processes",
                    hint="perhaps memory ran out; try fewer `--devices`, or a smaller `--scale`",
                )

    def fail(self, error: BaseException) -> None:
        """End everything with an error; the first one counts."""
        with self._changed:
            if not self.is_stopped:
                self._error = self._error or error
            self._changed.notify_all()

    def stop(self) -> None:
        """Deal no more."""
        with self._changed:
            self.is_stopped = True
            self._changed.notify_all()

    def wait(self) -> None:
        """Until all is done.

        Raises:
            BaseException: What `fail` was given.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._error is not None or self._is_over)
            if self._error is not None:
                raise self._error
