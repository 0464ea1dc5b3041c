"""The queue of segments that several workers share: those of every output that is being made, earlier outputs first.

Each segment is dealt to one worker, and again if that one is lost.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from diffst_cli.errors import UserError
from diffst_cli.making import Recipient
from diffst_cli.segments import Segment
from diffst_cli.stages import Stages
from diffst_cli.work import Work
from diffst_cli.worker import Task

MAX_ATTEMPTS = 3  # at one segment, before it is blamed for what happens to workers


@dataclass(eq=False)
class Request:
    """The pieces of one output that are to be made, and who is told of it; the dealer counts in it."""

    task: Task
    recipient: Recipient
    warn: Callable[[str], None]
    stages: Stages
    """Counts the seconds of all workers."""
    waiting: deque[Segment] = field(default_factory=deque)
    attempts: Counter[int] = field(default_factory=Counter)
    """By segment: how often it was dealt in vain."""
    num_out: int = 0
    """Segments dealt and neither made nor given back."""
    is_planned: bool = False
    """Whether no more segments will be found."""
    is_withdrawn: bool = False
    """Whether nobody waits for it any more."""
    error: BaseException | None = None
    """Why the rest will not be made."""

    @property
    def is_over(self) -> bool:
        """Whether all is made, or an error ended it."""
        return self.error is not None or (
            self.is_planned and not self.waiting and self.num_out == 0
        )


class Dealer:
    """The queue, shared by the threads that serve the workers and the one that asks for outputs."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._requests: list[Request] = []
        self._is_closed = False

    def add(self, request: Request, work: Work) -> None:
        """Deal the segments that `work` lacks, each as soon as it is found, after those of earlier requests."""
        with self._changed:
            self._requests.append(request)
        threading.Thread(
            target=self._feed, args=(request, work), name="feeder", daemon=True
        ).start()

    def _feed(self, request: Request, work: Work) -> None:
        try:
            for segment in work.planned():
                if not work.has(segment):
                    with self._changed:
                        request.waiting.append(segment)
                        self._changed.notify_all()
        except BaseException as error:
            self.fail(request, error)
            return
        with self._changed:
            request.is_planned = True
            self._changed.notify_all()

    def wait_for_segment(self) -> bool:
        """Until there is one to deal; False when there never will be."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._first() is not None)
            return not self._is_closed

    def take(self) -> tuple[Request, Segment] | None:
        """The next segment to make, and whose it is; None if there is none now."""
        with self._changed:
            request = self._first()
            if request is None or self._is_closed:
                return None
            request.num_out += 1
            self._changed.notify_all()  # whoever looks how many wait
            return request, request.waiting.popleft()

    def _first(self) -> Request | None:
        """The first request that has a segment to deal."""
        return next((r for r in self._requests if r.waiting and r.error is None), None)

    def finish(self, request: Request) -> None:
        """Say that a segment is made."""
        with self._changed:
            request.num_out -= 1
            self._changed.notify_all()

    def give_back(self, request: Request, segment: Segment) -> None:
        """Deal a segment again; one that was dealt too often ends its request."""
        with self._changed:
            request.num_out -= 1
            request.attempts[segment.index] += 1
            if request.attempts[segment.index] >= MAX_ATTEMPTS:
                message = f"segment {segment.index} ended {MAX_ATTEMPTS} worker processes"
                hint = "perhaps memory ran out; try fewer `--devices`, or a smaller `--scale`"
                self.fail(request, UserError(message, hint=hint))
            request.waiting.appendleft(segment)
            self._changed.notify_all()

    def fail(self, request: Request, error: BaseException) -> None:
        """Deal no more of a request, because of an error; the first one counts."""
        with self._changed:
            request.error = request.error or error
            self._changed.notify_all()

    def fail_all(self, error: BaseException) -> None:
        """As `fail`, with every request."""
        for request in self.requests:
            self.fail(request, error)

    def withdraw(self, request: Request) -> None:
        """Deal no more of a request; its segments that are out may still be finished or given back."""
        with self._changed:
            request.is_withdrawn = True
            if request in self._requests:
                self._requests.remove(request)
            self._changed.notify_all()

    def close(self) -> None:
        """Deal nothing any more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def wait_for(self, is_so: Callable[[], bool], timeout_seconds: float | None = None) -> None:
        """Until something is so that follows from the requests, or for some time."""
        with self._changed:
            self._changed.wait_for(is_so, timeout_seconds)

    @property
    def requests(self) -> list[Request]:
        """Those not withdrawn."""
        with self._changed:
            return list(self._requests)

    @property
    def num_waiting(self) -> int:
        """Segments that nobody has yet."""
        return sum(len(request.waiting) for request in self.requests)

    @property
    def num_unplanned(self) -> int:
        """Requests of which more segments may be found."""
        return sum(not request.is_planned for request in self.requests)
