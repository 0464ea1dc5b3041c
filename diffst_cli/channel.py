"""A small bounded queue between two threads, which either side, or a third, can shut."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")

JOIN_SECONDS = 5.0  # for a thread to notice that its channel was shut; after that it is left behind


class Stopped(Exception):  # noqa: N818 - not an error
    """The channel was shut while a thread was using it; that thread should end quietly."""


class Channel(Generic[Item]):
    """Items in order from one producer to one consumer, at most `capacity` of them waiting."""

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}, must be at least 1")
        self._capacity = capacity
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._error: BaseException | None = None

    def put(self, item: Item) -> None:
        """Adds an item, waiting while the channel is full.

        Raises:
            BaseException: What `stop` was given.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._error or len(self._items) < self._capacity)
            if self._error is not None:
                raise self._error
            self._items.append(item)
            self._changed.notify_all()

    def end(self) -> None:
        """Says that no more items come; the consumer still gets those that wait."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def stop(self, error: BaseException | None = None) -> None:
        """Shuts the channel: waiting items are dropped, and both sides raise `error` (or `Stopped`).

        The first call decides what is raised.
        """
        with self._changed:
            self._error = self._error or error or Stopped()
            self._items.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Item]:
        """Items until the producer ends.

        Raises:
            BaseException: What `stop` was given.
        """
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._error or self._items or self._ended)
                if self._error is not None:
                    raise self._error
                if not self._items:
                    return
                item = self._items.popleft()
                self._changed.notify_all()
            yield item


class Worker:
    """A thread at one end of a channel; what goes wrong in it is raised at the other end.

    Use as a context manager: the thread starts inside. Leaving with an error shuts the channel.
    """

    def __init__(self, name: str, work: Callable[[], None], channel: Channel[Any]) -> None:
        self._work = work
        self._channel = channel
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def finish(self) -> None:
        """Waits until the work is done.

        Raises:
            BaseException: What went wrong in the thread.
        """
        self._thread.join()
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Worker:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._channel.stop()
        self._thread.join(JOIN_SECONDS)

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self._error = error
            self._channel.stop(error)
