"""One function for many things, in several processes, that end with this one."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any, TypeVar

from diffst_cli.errors import UserError

Result = TypeVar("Result")


def each_done(
    function: Callable[..., Result], calls: Sequence[tuple[Any, ...]], num_workers: int
) -> Iterator[Result]:
    """What each call gives, as they are done; an error of one ends all.

    Args:
        function: Of a module, so that another process finds it.
        calls: The arguments of each.
        num_workers: With 1, or a single call, no process is started.

    Raises:
        UserError: A process was ended from outside, or by a library's crash.
    """
    if num_workers == 1 or len(calls) < 2:
        yield from (function(*arguments) for arguments in calls)
        return
    # Spawned, because a fork would copy locks that torch's threads may hold.
    context = multiprocessing.get_context("spawn")
    ignore = partial(signal.signal, signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for this process
    with ProcessPoolExecutor(
        min(num_workers, len(calls)), mp_context=context, initializer=ignore
    ) as pool:
        futures = [pool.submit(function, *arguments) for arguments in calls]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise UserError(
                "a process was ended, by a broken file or for want of memory",
                hint="run it again with `--workers 1`; what is done is kept",
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            raise
