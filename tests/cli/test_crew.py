"""Workers that stay for one output after another, or share several; here ones that only pretend to work."""

import threading
from pathlib import Path
from typing import Any, cast

import pytest

from diffst_cli.crew import Crew, agreed
from diffst_cli.dealer import Request
from diffst_cli.devices import CrewMember, WorkerLost
from diffst_cli.errors import UserError
from diffst_cli.job import UpscaleJob
from diffst_cli.making import Recipient
from diffst_cli.pieces import Piece
from diffst_cli.planner import RunPlan
from diffst_cli.probe import probe
from diffst_cli.segments import Segment
from diffst_cli.stages import Stages
from tests.media import make_video
from tests.team import Member, Team, planned, task, wait_until


def test_workers_are_started_once_and_told_of_every_output():
    team = Team(2)
    for _ in range(3):
        team.make(4)
    assert len(team.started) == 2
    assert sum(len(member.made) for member in team.started) == 12
    assert all(len(member.tasks) <= 3 for member in team.started), "told of an output twice"
    assert sorted(team.finished) == sorted([0, 1, 2, 3] * 3)
    team.crew.stop()
    assert all(member.is_stopped.is_set() for member in team.started)


def test_a_worker_that_does_not_load_its_model_ends_all():
    team = Team(2)

    def fail(timeout_seconds: float) -> Any:
        raise UserError(f"there is no model, said within {timeout_seconds} s")

    start = team._start

    def start_badly() -> CrewMember:
        member = cast(Member, start())
        if member.number == 1:
            member.receive = fail  # type: ignore[method-assign]
        return member

    team.crew = Crew(lambda: [start_badly] * 2)
    with pytest.raises(UserError, match="there is no model"):
        team.crew.muster()
    assert all(member.is_stopped.is_set() for member in team.started)


def test_workers_on_cpus_all_do_what_the_one_with_least_memory_can(tmp_path: Path):
    plans = plans_of(Team(3), tmp_path)
    assert plans[0].rung.words == plans[2].rung.words == "whole frames"
    assert plans[1].rung.words.startswith("tiles of ")
    assert agreed(plans) == plans[1]
    on_record = [plan.keeping("whole frames") for plan in plans]
    assert agreed(on_record).rung.words == "whole frames", "what is on record is kept"


def test_each_gpu_does_what_suits_it(tmp_path: Path):
    plans = plans_of(Team(2, device="cuda:0"), tmp_path)
    assert [plan.rung.words.split()[0] for plan in plans] == ["whole", "tiles"]
    assert agreed(plans) == plans[0]


def plans_of(team: Team, folder: Path) -> list[RunPlan]:
    source = make_video(folder / "in.mp4", size=(320, 180), num_frames=24)
    job = UpscaleJob(input=source, output=folder / "out.mp4")
    team.crew.muster()
    plans = team.crew.plans(job, probe(source))
    team.crew.stop()
    return plans


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
        if segment.index == 0 and not team.finished[2:]:
            waits.wait(5)  # until the other has made what there is
            raise UserError("the disk is full")
        waits.set()

    team = Team(2, fail_at_0)
    with pytest.raises(UserError, match="the disk is full"):
        team.make(2)
    (ended,) = [member for member in team.started if member.is_stopped.is_set()]
    assert ended.made == []
    team.finished += [0, 0]
    team.make(8)
    assert len(team.started) <= 3, "only the one that was ended is replaced"
    assert sorted(team.finished[-8:]) == list(range(8))
    team.crew.stop()


def test_an_error_of_who_is_told_is_that_outputs():
    team = Team(1)
    team.crew.muster()

    def fail(_piece: Piece) -> None:
        raise OSError("no space left")

    recipient = Recipient(frames_written=lambda _i, _n: None, piece_finished=fail)
    request = Request(task(), recipient, team.warnings.append, Stages())
    with pytest.raises(OSError, match="no space left"), team.crew.asked(request, planned(2)):
        team.crew.wait(request)
    team.make(2)
    assert team.finished == [0, 1]
    team.crew.stop()


def test_an_error_of_who_is_told_that_a_worker_was_lost_is_that_outputs_too():
    def die_once(member: Member, _segment: Segment) -> None:
        if member.number == 0:
            raise WorkerLost("died")

    team = Team(1, die_once)
    team.crew.muster()

    def fail(_message: str) -> None:
        raise OSError("no space left")

    request = Request(task(), team.request().recipient, fail, Stages())
    told: list[BaseException] = []

    def make() -> None:
        try:
            with team.crew.asked(request, planned(2)):
                team.crew.wait(request)
        except OSError as error:
            told.append(error)

    making = threading.Thread(target=make, daemon=True)
    making.start()
    making.join(5)
    assert [str(error) for error in told] == ["no space left"], "it is waited for without end"
    team.make(2)
    assert team.finished == [0, 1]
    team.crew.stop()


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
    team.crew.stop()


def test_a_worker_that_replaces_another_is_told_of_the_output():
    def die_at_the_second(member: Member, segment: Segment) -> None:
        if member.number == 0 and segment.index == 1:
            raise WorkerLost("died")

    team = Team(1, die_at_the_second)
    team.make(3)
    assert [len(member.tasks) for member in team.started] == [1, 1]
    assert team.finished == [0, 1, 2]
    team.crew.stop()


def test_a_worker_that_died_between_two_outputs_is_replaced():
    team = Team(1)
    team.make(1)
    team.started[0].stop()
    team.make(2)
    assert team.finished == [0, 0, 1]
    assert len(team.started) == 2
    team.crew.stop()


def test_workers_that_could_not_be_started_again_are_tried_anew_for_the_next_output():
    def behave(member: Member, _segment: Segment) -> None:
        if member.number == 0:
            raise WorkerLost("died")
        # The other makes nothing before it is known what becomes of the first.
        wait_until(lambda: len(team.warnings) == 2 and len(team.started) == 2 + may_start.is_set())

    team = Team(2, behave)
    start, may_start = team._start, threading.Event()

    def start_if_may() -> CrewMember:
        if len(team.started) >= 2 and not may_start.is_set():
            raise WorkerLost("there is no room")
        return start()

    team.crew = Crew(lambda: [start_if_may] * 2)
    team.make(4)
    assert team.warnings[1:] == ["a worker could not be started again; going on with 1"]
    may_start.set()
    team.make(4)
    assert len(team.started) == 3
    team.crew.stop()
