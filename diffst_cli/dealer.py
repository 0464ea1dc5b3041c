"""The queue of segments that several workers share: each is dealt to one, and again if that one is lost."""

from __future__ import annotations

import threading

from diffst_cli.errors import UserError
from diffst_cli.segments import Segment
from diffst_cli.work import Work

MAX_ATTEMPTS = 3  # at one segment, before it is blamed for what happens to workers


class Dealer:
    """The queue of segments, shared by the threads that serve the workers."""

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
