"""What ends a run after it began, told apart from what keeps it from beginning."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class StoppedError(ValueError):
    """A run that began cannot go on: a clip cannot be read, or the like; it says at which step."""


@contextmanager
def told_where(step_number: Callable[[], int]) -> Iterator[None]:
    """Inside, an error that has a sentence says at which step it came.

    Args:
        step_number: Asked when it comes.

    Raises:
        StoppedError: In place of what is raised inside.
    """
    try:
        yield
    except (FileNotFoundError, ValueError) as error:
        raise StoppedError(f"this run stopped at step {step_number()}: {error}") from error
