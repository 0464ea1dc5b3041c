"""Workers that stay for one output after another, here ones that only pretend to work."""

import queue
import threading
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import pytest

from diffst_cli.clips import ClipRules
from diffst_cli.crew import Crew
from diffst_cli.devices import CrewMember, WorkerLost
from diffst_cli.errors import UserError
from diffst_cli.job import UpscaleJob
from diffst_cli.making import Recipient
from diffst_cli.pieces import Piece
from diffst_cli.segments import Segment
from diffst_cli.stages import Stages
from diffst_cli.timing import TimelineState
from diffst_cli.work import Work
from diffst_cli.worker import Finished, Made, Ready, Task

RULES = ClipRules(clip_keyframes=4, overlap_keyframes=1, context_keyframes=1, max_moments=9)
TASK = Task(UpscaleJob(input=Path("in"), output=Path("out")), Path("work"), cast(Any, None), None)


class Member:
    """Answers every order at once, unless `behave` does otherwise with it; tells its doings."""

    name = "here"

    def __init__(self, number: int, behave: Callable[["Member", Segment], None]) -> None:
        self.number = number
        self.tasks: list[Task] = []
        self.made: list[int] = []
        self.is_stopped = threading.Event()
        self._behave = behave
        self._messages: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def send(self, order: Task | Segment) -> None:
        if self.is_stopped.is_set():
            raise WorkerLost("ended")
        if isinstance(order, Task):
            self.tasks.append(order)
            self._messages.put(self.plan(order))
            return
        self._behave(self, order)
        self.made.append(order.index)
        piece = Piece(index=order.index, num_frames=1, first_time=Fraction(0), sha256="")
        for message in (Made(1), Finished(piece, {"model": 1.0})):
            self._messages.put(message)

    def plan(self, task: Task) -> Ready:
        """One with a lower number has less memory, and takes as much as it may."""
        way = task.way or f"tiles of {512 * (self.number + 1)} pixels"
        return Ready(RULES, way, self.number, f"plan: {way}")

    def receive(self, timeout_seconds: float) -> Any:
        if self.is_stopped.is_set():
            raise WorkerLost("ended")
        return self._messages.get(timeout=timeout_seconds)

    def stop(self) -> None:
        self.is_stopped.set()


class Team:
    """A crew of so many members, and all that it ever started."""

    def __init__(
        self, count: int, behave: Callable[[Member, Segment], None] = lambda _m, _s: None
    ) -> None:
        self.started: list[Member] = []
        self.finished: list[int] = []
        self.warnings: list[str] = []
        self.told: list[str] = []
        self._behave = behave
        self.crew = Crew(lambda: [self._start] * count)

    def _start(self) -> CrewMember:
        self.started.append(Member(len(self.started), self._behave))
        return self.started[-1]

    def make(self, num_segments: int) -> None:
        """One output."""
        assert self.crew.begin(TASK, lambda _: None).clip_rules == RULES
        recipient = Recipient(
            frames_written=lambda _i, _n: None,
            piece_finished=lambda piece: self.finished.append(piece.index),
            model_at=self.told.append,
        )
        work = cast(Work, Planned(num_segments))
        self.crew.make_all(work, recipient, self.warnings.append, Stages())


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

    def planned(self) -> "list[Segment]":
        return self.segments

    def has(self, _segment: Segment) -> bool:
        return False


def test_workers_are_started_once_and_told_of_every_output():
    team = Team(2)
    for _ in range(3):
        team.make(4)
    assert len(team.started) == 2
    assert [len(member.tasks) for member in team.started] == [3, 3]
    assert sorted(team.finished) == sorted([0, 1, 2, 3] * 3)
    team.crew.stop()
    assert all(member.is_stopped.is_set() for member in team.started)


def test_workers_on_cpus_all_do_what_the_one_with_least_memory_can():
    team, told = Team(3), list[str]()
    on_cpus = replace(TASK, job=replace(TASK.job, devices=("cpu",) * 3))
    for _ in range(2):
        ready = team.crew.begin(on_cpus, told.append)
        assert ready.way == "tiles of 512 pixels"
    assert told == ["plan: tiles of 512 pixels"] * 2
    assert [member.tasks[-1].way for member in team.started] == [None, ready.way, ready.way]
    team.crew.begin(replace(on_cpus, way="whole frames"), told.append)
    assert told[2:] == ["plan: whole frames"], "what is on record is kept"
    team.crew.stop()


def test_each_gpu_does_what_suits_it():
    team, told = Team(2), list[str]()
    on_gpus = replace(TASK, job=replace(TASK.job, devices=("cuda:0", "cuda:1")))
    assert team.crew.begin(on_gpus, told.append).way == "tiles of 512 pixels"
    assert told == ["plan: tiles of 512 pixels", "plan: tiles of 1024 pixels"]
    team.crew.stop()


def test_the_line_of_progress_tells_how_many_work_and_where():
    team = Team(3)
    team.make(1)
    assert team.told == ["3 workers", "3 workers"]
    for member, name in zip(team.started, ("cuda of a", "cuda of a", "cuda of b"), strict=True):
        member.name = name
    assert team.crew.words == "3 workers on 2 machines"
    team.crew.stop()


def test_no_worker_is_started_before_there_is_something_to_do():
    team = Team(2)
    team.crew.stop()
    assert team.started == []


def test_a_step_that_fails_ends_the_worker_at_it_and_the_others_stay():
    waits = threading.Event()

    def fail_at_0(member: Member, segment: Segment) -> None:
        if segment.index == 0 and len(member.tasks) == 1 and member.number < 2:
            waits.wait(5)  # until the other has made what there is
            raise UserError("the disk is full")
        waits.set()

    team = Team(2, fail_at_0)
    with pytest.raises(UserError, match="the disk is full"):
        team.make(2)
    (ended,) = [member for member in team.started if member.is_stopped.is_set()]
    team.make(8)
    assert ended.made == []
    assert len(team.started) <= 3, "only the one that was ended is replaced"
    assert sorted(team.finished[-8:]) == list(range(8))


def test_a_worker_that_is_lost_is_replaced_for_the_outputs_to_come():
    def die_once(member: Member, _segment: Segment) -> None:
        if member.number == 0:
            raise WorkerLost("died")

    team = Team(1, die_once)
    team.make(3)
    assert team.warnings == ["the worker on `here` died; its segment is dealt again"]
    assert team.finished == [0, 1, 2]
    assert team.told == ["1 worker", "0 workers", *["1 worker"] * 3]
    team.make(1)
    assert len(team.started) == 2


def test_a_worker_that_died_between_two_outputs_is_replaced():
    team = Team(1)
    team.make(1)
    team.started[0].stop()
    team.make(2)
    assert team.finished == [0, 0, 1]
    assert len(team.started) == 2
