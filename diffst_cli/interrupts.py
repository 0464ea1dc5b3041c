"""Ctrl-C, SIGTERM and a closed terminal: one KeyboardInterrupt, at a moment from which everything can be cleaned up."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class _State:
    """What the handler knows; signals are handled in the main thread only, so one is enough."""

    deferred = False
    """Whether an interrupt must wait."""
    arrived = False
    """Whether one did."""


@contextmanager
def interrupts_raise() -> Iterator[None]:
    """Inside, the first SIGINT, SIGTERM or SIGHUP raises KeyboardInterrupt; later ones wait for the clean-up.

    A signal that our parent chose to ignore, as `nohup` does, stays ignored. In another thread than
    the main one this does nothing, since signals never arrive there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    wanted = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, _interrupt) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _State.arrived = False


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Inside, an interrupt is only noted; it is raised on leaving. For steps that must not be torn.

    In another thread than the main one this does nothing, since interrupts are never raised there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    outermost = not _State.deferred
    _State.deferred = True
    try:
        yield
    finally:
        if outermost:
            _State.deferred = False
    if outermost and _State.arrived:
        raise KeyboardInterrupt


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    if _State.arrived:
        return
    _State.arrived = True
    if not _State.deferred:
        raise KeyboardInterrupt
