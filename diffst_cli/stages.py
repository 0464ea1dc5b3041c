"""Seconds spent by stage of a run, counted from several threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")


class Stages:
    """Adds up seconds by stage name. Stages of different threads overlap, so their sum exceeds the run's."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    def add(self, name: str, seconds: float) -> None:
        """Counts `seconds` more for a stage."""
        with self._lock:
            self._seconds[name] = self._seconds.get(name, 0.0) + seconds

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Counts the time spent inside, also when it ends in an error."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - started)

    def timed_items(self, name: str, items: Iterable[Item]) -> Iterator[Item]:
        """The same items; counts the time it takes to get each."""
        iterator = iter(items)
        while True:
            with self.timed(name):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    def seconds(self) -> dict[str, float]:
        """By stage, in the order in which stages were first met."""
        with self._lock:
            return dict(self._seconds)
