"""Workers that only pretend to work, and a crew of them."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

from diffst.upscaler import ModelRules
from diffst_cli.crew import Crew
from diffst_cli.dealer import Request
from diffst_cli.devices import CrewMember, WorkerLost
from diffst_cli.job import UpscaleJob
from diffst_cli.making import Recipient
from diffst_cli.pieces import Piece
from diffst_cli.planner import Room
from diffst_cli.segments import Segment
from diffst_cli.stages import Stages
from diffst_cli.timing import TimelineState
from diffst_cli.work import Work
from diffst_cli.worker import Finished, Made, Ready, Task

RULES = ModelRules(clip_keyframes=4, overlap_keyframes=1, context_keyframes=1)
LITTLE = 1_050_000_000  # bytes, of memory


def task(name: str = "work") -> Task:
    job = UpscaleJob(input=Path("in"), output=Path("out"))
    return Task(job, Path(name), cast(Any, None), None)


class Member:
    """Answers every order at once, unless `behave` does otherwise with it; tells its doings."""

    name = "here"

    def __init__(
        self, number: int, behave: Callable[["Member", Segment], None], room: Room
    ) -> None:
        self.number = number
        self.tasks: list[Task] = []
        self.made: list[int] = []
        self.is_stopped = threading.Event()
        self._behave = behave
        self._messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._messages.put(Ready(RULES, room))

    def send(self, *orders: Task | Segment) -> None:
        if self.is_stopped.is_set():
            raise WorkerLost("ended")
        self.tasks += [order for order in orders if isinstance(order, Task)]
        order = orders[-1]
        assert isinstance(order, Segment)
        self._behave(self, order)
        self.made.append(order.index)
        piece = Piece(index=order.index, num_frames=1, first_time=Fraction(0), sha256="")
        for message in (Made(1), Finished(piece, {"model": 1.0})):
            self._messages.put(message)

    def receive(self, timeout_seconds: float) -> Any:
        if self.is_stopped.is_set():
            raise WorkerLost("ended")
        return self._messages.get(timeout=timeout_seconds)

    def stop(self) -> None:
        self.is_stopped.set()


class Team:
    """A crew of so many members, and all that it ever started."""

    def __init__(
        self,
        count: int,
        behave: Callable[[Member, Segment], None] = lambda _m, _s: None,
        device: str = "cpu",
    ) -> None:
        self.started: list[Member] = []
        self.finished: list[int] = []
        self.warnings: list[str] = []
        self.told: list[str] = []
        self._behave = behave
        self._device = device
        self.crew = Crew(lambda: [self._start] * count)

    def _start(self) -> CrewMember:
        """The second has less memory than the others."""
        number = len(self.started)
        free = LITTLE if number == 1 else 20 * LITTLE
        room = Room(
            device=self._device,
            precision="fp32",
            lanes=1,
            free_bytes=free,
            host_free_bytes=20 * LITTLE,
        )
        self.started.append(Member(number, self._behave, room))
        return self.started[-1]

    def request(self, name: str = "work") -> Request:
        recipient = Recipient(
            frames_written=lambda _i, _n: None,
            piece_finished=lambda piece: self.finished.append(piece.index),
            model_at=self.told.append,
        )
        return Request(task(name), recipient, self.warnings.append, Stages())

    def make(self, num_segments: int) -> None:
        """One output."""
        self.crew.muster()
        request = self.request()
        with self.crew.asked(request, planned(num_segments)):
            self.crew.wait(request)


def planned(count: int) -> Work:
    return cast(Work, Planned(count))


class Planned:
    """As much of a `Work` as a crew sees."""

    def __init__(self, count: int) -> None:
        first = Segment(
            index=0,
            timeline=TimelineState(
                first_time=Fraction(0), last_time=Fraction(0), num_keyframes=0, num_instants=0
            ),
            first_time=Fraction(0),
            stop_keyframe=1,
            cuts=(),
            first_instant=0,
            shared=0,
            start=0,
            stop=1,
            end=None,
            digest="",
        )
        self.segments = [replace(first, index=index) for index in range(count)]

    def planned(self) -> Iterator[Segment]:
        yield from self.segments

    def has(self, _segment: Segment) -> bool:
        return False


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)
