"""Work that may run out of memory, and is then done again with less at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

Made = TypeVar("Made")


class Attempt(Protocol):
    """Does some work on behalf of whoever knows what to do when memory runs out."""

    def __call__(self, work: Callable[[], Made]) -> Made | None:
        """What `work` makes, never None; None where memory ran out: limits are narrower now, and it may be tried again.

        What `work` begins from and may have spoilt is its owner's to put back.
        """

    def may_repeat(self) -> bool:
        """Whether the next one can come back with None; where it cannot, nothing has to be kept for another."""


class Plainly:
    """The attempt that is the only one: an error stays an error."""

    def __call__(self, work: Callable[[], Made]) -> Made | None:
        """What `work` makes."""
        return work()

    def may_repeat(self) -> bool:
        """Never."""
        return False


plainly = Plainly()


def until_made(attempt: Attempt, work: Callable[[], Made]) -> Made:
    """What `work` makes, however often memory runs out before."""
    while (made := attempt(work)) is None:
        pass
    return made
