"""Several workers that make pieces, of one output or of many, and stay in between.

Workers are processes of this machine (`devices`), or actors on others (`cluster`). Segments are
dealt out one at a time, in order, to whoever is free, from one queue (`dealer`) of all outputs that
are asked for. A worker that dies, or is silent for too long, is replaced, and its segment dealt again.
A piece depends on its segment alone, so how many workers there are, and which of them made what, is
not seen in the output.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diffst_cli.allowance import num_cores
from diffst_cli.dealer import MAX_ATTEMPTS, Dealer, Request
from diffst_cli.devices import OF, CrewMember, WorkerLost
from diffst_cli.errors import UserError
from diffst_cli.job import UpscaleJob
from diffst_cli.planner import RunPlan, plan_run
from diffst_cli.segments import Segment
from diffst_cli.words import counted
from diffst_cli.work import Work
from diffst_cli.worker import ClipAt, Finished, Made, ModelAt, Ready, Task, Warned

if TYPE_CHECKING:
    from diffst_cli.probe import VideoInfo

START_SECONDS = 900.0  # for a worker to load its model
SILENT_SECONDS = 1800.0  # between two frames, or steps of a long clip; one silent for longer hangs

Starter = Callable[[], CrewMember]
"""Starts a worker, and those that replace it."""


@dataclass(eq=False)
class _Post:
    """A place for one worker, which may be replaced."""

    number: int
    start: Starter
    worker: CrewMember | None = None
    ready: Ready | None = None
    """What the worker, or the one before it, said when its model was loaded."""
    task: Task | None = None
    """That the worker was told last."""
    request: Request | None = None
    """Of which it makes a segment now."""
    thread: threading.Thread | None = None
    """That serves it; None before there is anything to do, and when no worker could be started any more."""


class Crew:
    """The workers of one run, or of all of a batch. Use as a context manager: leaving it ends them all."""

    def __init__(self, find_starters: Callable[[], Sequence[Starter]]) -> None:
        """Take what tells, once workers are needed, which there are to be.

        Args:
            find_starters: Gives a starter for each.
        """
        self._find_starters = find_starters
        self._posts: list[_Post] = []
        self._dealer = Dealer()
        self._changing = threading.Lock()  # who works where, and at what
        self._is_open = True  # whether workers may be started

    def muster(self) -> None:
        """Start all workers and wait until their models are loaded; nothing where that was done.

        Raises:
            UserError: One could not load the model, or there are none.
        """
        if self._posts:
            return
        starters = self._find_starters()
        self._posts = [_Post(number, start) for number, start in enumerate(starters)]
        try:
            for post in self._posts:
                self._start(post)
            for post in self._posts:
                self._wait_until_ready(post)
        except BaseException:
            self.stop()
            raise

    def plans(self, job: UpscaleJob, info: VideoInfo) -> list[RunPlan]:
        """What each worker would do with a job, in the memory that was free when its model was loaded."""
        found = [post.ready for post in self._posts if post.ready is not None]
        return [plan_run(job, info, ready.rules, ready.room) for ready in found]

    @contextmanager
    def asked(self, request: Request, work: Work) -> Iterator[None]:
        """Inside, workers make every piece that `work` lacks, while more segments may be found.

        On leaving none of them is at it any more; those that still were are ended, and replaced for what follows.
        """
        try:
            self._dealer.add(request, work)
            request.recipient.model_at(self.words)
            self._serve_all()
            yield
        finally:
            with self._changing:
                self._dealer.withdraw(request)
                for post in self._posts:
                    if post.request is request:
                        self._drop(post)
            self._dealer.wait_for(lambda: request.num_out == 0)

    def _serve_all(self) -> None:
        """Have a thread for each worker, and anew for those that could not be started again."""
        threads = []
        with self._changing:  # lest the first to give up think it the last
            for post in self._posts:
                if post.thread is None:
                    post.thread = threading.Thread(target=self._serve, args=(post,), daemon=True)
                    threads.append(post.thread)
            for thread in threads:
                thread.start()

    def wait(self, request: Request) -> None:
        """Until every piece is made.

        Raises:
            UserError: A step failed, or a segment ended every worker that tried it.
        """
        self._dealer.wait_for(lambda: request.is_over)
        if request.error is not None:
            raise request.error

    def wait_for(self, is_so: Callable[[], bool], timeout_seconds: float) -> None:
        """Until something is so that follows from the requests, or for some time."""
        self._dealer.wait_for(is_so, timeout_seconds)

    @property
    def wants_more(self) -> bool:
        """Whether workers will soon be idle, so that another output should be asked for.

        No more inputs are looked through at once than there are workers, or cores for it.
        """
        num_workers = len(self._posts)
        most_scans = min(num_workers, num_cores())
        return self._dealer.num_waiting < num_workers and self._dealer.num_unplanned < most_scans

    @property
    def words(self) -> str:
        """How many workers there are now, and on how many machines, for the line of progress."""
        names = [post.worker.name for post in self._posts if post.worker is not None]
        machines = {name.partition(OF)[2] for name in names} - {""}
        several = f" on {len(machines)} machines" if len(machines) > 1 else ""
        return f"{counted(len(names), 'worker')}{several}"

    def _start(self, post: _Post) -> None:
        with self._changing:
            if not self._is_open:
                raise WorkerLost("is not wanted any more")
            post.worker, post.task = post.start(), None

    def _wait_until_ready(self, post: _Post) -> None:
        worker = post.worker
        assert worker is not None
        try:
            message = worker.receive(START_SECONDS)
        except WorkerLost as error:
            raise UserError(
                f"a worker on `{worker.name}` {error} while it loaded the model"
            ) from error
        assert isinstance(message, Ready)
        post.ready = message

    def _serve(self, post: _Post) -> None:
        """Deal segments to one worker, and to those that replace it."""
        try:
            # A worker is there before a segment is taken, which others could make meanwhile.
            while self._dealer.wait_for_segment():
                if post.worker is None and not self._is_replaced(post):
                    return
                self._make_next(post)
        except BaseException as error:
            post.thread = None
            self._dealer.fail_all(error)

    def _is_replaced(self, post: _Post) -> bool:
        """Whether there is another worker instead of one that was lost, ready."""
        for _ in range(MAX_ATTEMPTS):
            try:
                self._start(post)
                self._wait_until_ready(post)
                return True
            except (UserError, WorkerLost):
                self._lose(post)
        self._give_up(post)
        return False

    def _give_up(self, post: _Post) -> None:
        """Go on without a worker there, until another output is asked for."""
        with self._changing:
            post.thread = None
            num_left = sum(other.thread is not None for other in self._posts)
        if num_left == 0:
            self._dealer.fail_all(UserError("no worker is left, and none could be started again"))
        elif self._is_open:
            for request in self._dealer.requests[:1]:
                request.warn(f"a worker could not be started again; going on with {num_left}")

    def _make_next(self, post: _Post) -> None:
        """Let the worker make the next segment, if there still is one."""
        with self._changing:
            worker = post.worker
            dealt = None if worker is None else self._dealer.take()
            if worker is None or dealt is None:
                return
            request, segment = dealt
            post.request = request
        try:
            is_made = self._is_made(post, worker, request, segment)
        except Exception as error:  # of a step, or of who is told
            self._dealer.fail(request, error)
            try:
                self._lose(post)
            finally:
                self._dealer.finish(request)
        else:
            if is_made:
                self._dealer.finish(request)
            else:
                self._dealer.give_back(request, segment)

    def _is_made(self, post: _Post, worker: CrewMember, request: Request, segment: Segment) -> bool:
        """Whether the worker made the segment; not where it was lost, and others are to make it."""
        try:
            self._make(post, worker, request, segment)
        except WorkerLost as error:
            self._lose(post)
            if self._is_open and not request.is_withdrawn:
                request.recipient.clip_at(post.number, 0)
                request.warn(f"the worker on `{worker.name}` {error}; its segment is dealt again")
            return False
        post.request = None  # before the request may be over, and who is at it ended
        return True

    def _make(self, post: _Post, worker: CrewMember, request: Request, segment: Segment) -> None:
        if post.task is request.task:
            worker.send(segment)
        else:
            worker.send(request.task, segment)
            post.task = request.task
        recipient = request.recipient
        while True:
            message = worker.receive(SILENT_SECONDS)
            if isinstance(message, Made):
                recipient.frames_written(segment.index, message.num_frames)
            elif isinstance(message, ModelAt):
                recipient.model_at(f"{self.words}, {message.words}")
            elif isinstance(message, ClipAt):
                recipient.clip_at(post.number, message.frames)
            elif isinstance(message, Warned):
                request.warn(message.message)
            elif isinstance(message, Finished):
                recipient.piece_finished(message.piece)
                recipient.model_at(self.words)
                recipient.clip_at(post.number, 0)
                for name, seconds in message.stage_seconds.items():
                    request.stages.add(name, seconds)
                return

    def _lose(self, post: _Post) -> None:
        """End a worker that is of no use any more, and tell whoever waited for it how many are left."""
        with self._changing:
            request, post.request = post.request, None
            self._drop(post)
        if request is not None and not request.is_withdrawn:
            request.recipient.model_at(self.words)

    def _drop(self, post: _Post) -> None:
        """End a worker, if it is there; only while nothing else changes."""
        worker, post.worker = post.worker, None
        if worker is not None:
            worker.stop()

    def stop(self) -> None:
        """End every worker at once; no more can be asked for."""
        with self._changing:
            self._is_open = False
            self._dealer.close()
            for post in self._posts:
                self._drop(post)
        for post in self._posts:
            if post.thread is not None:
                post.thread.join()

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def agreed(plans: Sequence[RunPlan]) -> RunPlan:
    """What workers do alike: on CPUs, where equal bits are promised, what the one with least memory can.

    GPUs each do what suits them, and the first one's way goes on record.
    """
    if plans[0].device != "cpu":
        return plans[0]
    return min(plans, key=lambda plan: plan.rung.device_bytes)
