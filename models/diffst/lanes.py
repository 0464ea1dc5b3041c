"""Several tasks at once on the CPU's cores, each on its own, their results in order.

A picture on each core beats one picture spread over all cores: nobody waits for the slowest at the
end of every convolution, and another program on one of the cores delays one picture, not each step
of all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Task = TypeVar("Task")
Result = TypeVar("Result")

MOST_LANES = 4  # each holds a picture's features; more cores than that share a picture


def num_lanes(device: torch.device) -> int:
    """Tasks to do at once on a device: one for each CPU thread of torch, up to `MOST_LANES`; 1 on a GPU."""
    return min(MOST_LANES, torch.get_num_threads()) if device.type == "cpu" else 1


def in_order(
    work: Callable[[Task], Result],
    tasks: Iterable[Task],
    lanes: int,
    is_ready: Callable[[Task], bool] = lambda _: True,
) -> Generator[Result, None, None]:
    """What `work` gives for each task, in the order of the tasks; an error is raised in its task's turn.

    Tasks are taken, in this thread, as they are needed: one more than there are lanes is begun, so that a lane need not
    wait for a slower one. Lanes share torch's threads evenly, and give them back at the end, or when the generator is
    closed.

    Args:
        work: Makes a task's result.
        tasks: What to do.
        lanes: At once.
        is_ready: Whether a task can be begun; one that cannot yet waits until results of those before it were taken.
    """
    if lanes == 1:
        yield from map(work, tasks)
        return
    threads = torch.get_num_threads()

    def take_share() -> None:
        torch.set_num_threads(threads // lanes)

    pool = ThreadPoolExecutor(lanes, "diffst-lane", initializer=take_share)
    begun: deque[Future[Result]] = deque()
    try:
        for task in tasks:
            while begun and (len(begun) > lanes or not is_ready(task)):
                yield begun.popleft().result()
            begun.append(pool.submit(work, task))
        while begun:
            yield begun.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # a lane's own number is also that of threads born later
