"""Several workers that make pieces of one output after another, and stay in between.

Workers are processes of this machine (`devices`), or actors on others (`cluster`). Segments are
dealt out one at a time, in order, to whoever is free. A worker that dies, or is silent for too long,
is replaced, and its segment dealt again. A piece depends on its segment alone, so how many workers
there are, and which of them made what, is not seen in the output.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from diffst_cli.dealer import MAX_ATTEMPTS, Dealer
from diffst_cli.devices import OF, CrewMember, WorkerLost
from diffst_cli.errors import UserError
from diffst_cli.making import Recipient
from diffst_cli.segments import Segment
from diffst_cli.stages import Stages
from diffst_cli.work import Work
from diffst_cli.worker import ClipAt, Finished, Made, ModelAt, Ready, Task, Warned

START_SECONDS = 900.0  # for a worker to load its model
SILENT_SECONDS = 1800.0  # between two frames, or steps of a long clip; one silent for longer hangs

Starter = Callable[[], CrewMember]
"""Starts a worker, and those that replace it."""


class Crew:
    """The workers of one run, or of all of a batch. Use as a context manager: leaving it ends them all."""

    def __init__(self, find_starters: Callable[[], Sequence[Starter]]) -> None:
        """Take what tells, once the first output is begun, which workers there are to be.

        Args:
            find_starters: Gives a starter for each.
        """
        self._find_starters = find_starters
        self._starters: Sequence[Starter] = ()
        self._task: Task | None = None
        self._starting = threading.Lock()
        self._is_open = False  # whether workers may be started, and given segments
        self._num_given_up = 0
        self._workers: list[CrewMember | None] = []
        self._is_idle: list[bool] = []
        """Of each worker: whether it waits for an order."""

    def begin(self, task: Task, note: Callable[[str], None]) -> Ready:
        """Let all workers prepare for an output; those that are not there yet are started.

        Args:
            task: What to make.
            note: Told what the workers plan to do.

        Returns:
            How clips are cut, which the model decides, and made; on CPUs all workers do it alike.

        Raises:
            UserError: A worker could not load the model, or there are none.
        """
        if not self._starters:
            self._starters = self._find_starters()
            self._workers = [None] * len(self._starters)
            self._is_idle = [False] * len(self._starters)
        self._task, self._num_given_up = task, 0
        with self._starting:
            self._is_open = True
        told = [number for number in range(len(self._workers)) if self._is_told(number)]
        try:
            if not told:
                told = list(range(len(self._starters)))
                for number in told:
                    self._start(number)
            plans = {number: self._wait_until_ready(number) for number in told}
            settled = self._agree(plans)
        except BaseException:
            self.stop()
            raise
        for plan in dict.fromkeys(ready.plan for ready in plans.values()):
            note(plan)
        return settled

    def _agree(self, plans: dict[int, Ready]) -> Ready:
        """What the workers do alike: on CPUs, where equal bits are promised, what the one with least memory can.

        GPUs each do what suits them, and the first one's way goes on record.

        Args:
            plans: Of each worker; those told to do otherwise are replaced.
        """
        assert self._task is not None
        job = self._task.job
        least = min(plans.values(), key=lambda ready: ready.way_bytes)
        if (job.devices[0] if job.devices else job.device).partition(":")[0] != "cpu":
            return next(iter(plans.values()))
        self._task = replace(self._task, way=least.way)
        for number, ready in plans.items():
            if ready.way != least.way and self._is_told(number):
                plans[number] = self._wait_until_ready(number)
        return least

    @property
    def words(self) -> str:
        """How many workers there are now, and on how many machines, for the line of progress."""
        names = [worker.name for worker in self._workers if worker is not None]
        machines = {name.partition(OF)[2] for name in names} - {""}
        several = f" on {len(machines)} machines" if len(machines) > 1 else ""
        return f"{len(names)} worker{'s' if len(names) != 1 else ''}{several}"

    def _is_told(self, number: int) -> bool:
        """Whether the worker is there, and knows the new task; one that was lost is replaced later."""
        worker = self._workers[number]
        assert self._task is not None
        if worker is None:
            return False
        try:
            worker.send(self._task)
        except WorkerLost:
            self._drop(number)
            return False
        return True

    def _wait_until_ready(self, number: int) -> Ready:
        worker = self._workers[number]
        assert worker is not None
        self._is_idle[number] = False
        try:
            message = worker.receive(START_SECONDS)
        except WorkerLost as error:
            raise UserError(
                f"a worker on `{worker.name}` {error} while it loaded the model"
            ) from error
        assert isinstance(message, Ready)
        self._is_idle[number] = True
        return message

    def _start(self, number: int) -> CrewMember:
        """Start a worker, and give it the task."""
        assert self._task is not None
        with self._starting:
            if not self._is_open:
                raise WorkerLost("is not wanted any more")
            worker = self._starters[number]()
            self._workers[number] = worker
        with suppress(WorkerLost):  # which the next to listen to it is told
            worker.send(self._task)
        return worker

    def make_all(
        self, work: Work, recipient: Recipient, warn: Callable[[str], None], stages: Stages
    ) -> None:
        """Make every piece that `work` lacks, while more segments may be found.

        Workers that wait at the end, or when a step failed, stay for the next output.

        Args:
            work: Of the output that was begun.
            recipient: Told of each frame and piece.
            warn: Told what the user should know.
            stages: Counts the seconds of all workers.

        Raises:
            UserError: A step failed, or a segment ended every worker that tried it.
        """
        dealer = Dealer(work)
        recipient.model_at(self.words)
        threads = [
            threading.Thread(
                target=self._serve, args=(number, dealer, recipient, warn, stages), daemon=True
            )
            for number in range(len(self._workers))
        ]
        for thread in threads:
            thread.start()
        try:
            dealer.wait()
        finally:
            dealer.stop()
            self._stop(lambda number: not self._is_idle[number])
            for thread in threads:
                thread.join()

    def _serve(
        self,
        number: int,
        dealer: Dealer,
        recipient: Recipient,
        warn: Callable[[str], None],
        stages: Stages,
    ) -> None:
        """Deal segments to one worker, and to those that replace it."""
        worker = self._workers[number]
        try:
            # A worker is there before a segment is taken, which others could make meanwhile.
            while (worker := worker or self._replacement(number, dealer, warn)) is not None:
                segment = dealer.take()
                if segment is None:
                    return
                with self._starting:
                    if not self._is_open:
                        return
                    self._is_idle[number] = False
                try:
                    self._make(number, worker, segment, recipient, warn, stages)
                    self._is_idle[number] = True
                    dealer.finish(segment)
                except WorkerLost as error:
                    self._drop(number)
                    recipient.model_at(self.words)
                    recipient.clip_at(number, 0)
                    if not dealer.is_stopped:
                        warn(f"the worker on `{worker.name}` {error}; its segment is dealt again")
                    worker = None
                    dealer.give_back(segment)
        except BaseException as error:
            dealer.fail(error)

    def _replacement(
        self, number: int, dealer: Dealer, warn: Callable[[str], None]
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
                self._is_idle[number] = True
                return worker
            except WorkerLost:
                self._drop(number)
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
        number: int,
        worker: CrewMember,
        segment: Segment,
        recipient: Recipient,
        warn: Callable[[str], None],
        stages: Stages,
    ) -> None:
        worker.send(segment)
        while True:
            message = worker.receive(SILENT_SECONDS)
            if isinstance(message, Made):
                recipient.frames_written(segment.index, message.num_frames)
            elif isinstance(message, ModelAt):
                recipient.model_at(f"{self.words}, {message.words}")
            elif isinstance(message, ClipAt):
                recipient.clip_at(number, message.frames)
            elif isinstance(message, Warned):
                warn(message.message)
            elif isinstance(message, Finished):
                recipient.piece_finished(message.piece)
                recipient.model_at(self.words)
                recipient.clip_at(number, 0)
                for name, seconds in message.stage_seconds.items():
                    stages.add(name, seconds)
                return

    def _drop(self, number: int) -> None:
        """End a worker, if it is there."""
        worker, self._workers[number] = self._workers[number], None
        self._is_idle[number] = False
        if worker is not None:
            worker.stop()

    def _stop(self, is_chosen: Callable[[int], bool]) -> None:
        """End the workers chosen, and let none begin anything until the next output is begun."""
        with self._starting:
            self._is_open = False
            for number in range(len(self._workers)):
                if is_chosen(number):
                    self._drop(number)

    def stop(self) -> None:
        """End every worker at once."""
        self._stop(lambda _: True)

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
