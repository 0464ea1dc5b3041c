"""Several outputs that share the workers of a crew."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import cast

import pytest

from diffst_cli import crew
from diffst_cli.dealer import MAX_ATTEMPTS, Dealer, Request
from diffst_cli.devices import WorkerLost
from diffst_cli.errors import UserError
from diffst_cli.segments import Segment
from diffst_cli.work import Work
from tests.team import Member, Planned, Team, planned, wait_until


def test_workers_that_one_output_has_nothing_for_make_the_next():
    both_at_work = threading.Barrier(2, timeout=10)

    def meet(_member: Member, _segment: Segment) -> None:
        both_at_work.wait()

    team = Team(2, meet)
    team.crew.muster()
    requests = [team.request(name) for name in "ab"]
    with ExitStack() as stack:
        for request in requests:
            stack.enter_context(team.crew.asked(request, planned(1)))
        for request in requests:
            team.crew.wait(request)
    assert {member.tasks[0].folder.name for member in team.started} == {"a", "b"}
    team.crew.stop()


def test_an_earlier_outputs_segments_come_first():
    order: list[str] = []
    begun, go_on = threading.Event(), threading.Event()

    def note(member: Member, _segment: Segment) -> None:
        order.append(member.tasks[-1].folder.name)
        begun.set()
        assert go_on.wait(10)

    team = Team(1, note)
    team.crew.muster()
    requests = [team.request(name) for name in "abc"]
    with ExitStack() as stack:
        for request in requests:
            stack.enter_context(team.crew.asked(request, planned(2)))
        assert begun.wait(10)
        wait_until(lambda: all(request.is_planned for request in requests))
        go_on.set()
        for request in requests:
            team.crew.wait(request)
    assert order == [*"aabbcc"]
    assert [seen.folder.name for seen in team.started[0].tasks] == [*"abc"]
    team.crew.stop()


def test_another_output_is_wanted_while_too_few_segments_wait():
    holds = threading.Event()
    team = Team(2, lambda _m, _s: cast(None, holds.wait(10)))
    team.crew.muster()
    wanted = []
    with ExitStack() as stack:
        requests = []
        for name in "abc":
            wanted.append(team.crew.wants_more)
            request = team.request(name)
            requests.append(request)
            stack.enter_context(team.crew.asked(request, planned(2)))
            wait_until(lambda request=request: request.is_planned)  # type: ignore[misc]
            wait_until(lambda: sum(r.num_out for r in requests) == 2)
        assert wanted == [True, True, False], "2 workers have 2 segments, and 2 more wait"
        holds.set()
        for request in requests:
            team.crew.wait(request)
    team.crew.stop()


def test_who_waits_for_the_queue_to_grow_short_is_woken():
    dealer = Dealer()
    dealer.add(Team(0).request(), planned(1))
    wait_until(lambda: dealer.num_waiting == 1)
    threading.Timer(0.1, dealer.take).start()
    began = time.monotonic()
    dealer.wait_for(lambda: dealer.num_waiting == 0, 10)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("cores", "expected"), [(8, [True, True, False]), (1, [True, False, False])]
)
def test_no_more_inputs_are_looked_through_at_once_than_there_are_workers_or_cores(
    monkeypatch: pytest.MonkeyPatch, cores: int, expected: list[bool]
):
    monkeypatch.setattr(crew, "num_cores", lambda: cores)
    goes_on = threading.Event()

    class Endless(Planned):
        def planned(self) -> Iterator[Segment]:
            assert goes_on.wait(10)
            yield from self.segments

    team = Team(2)
    team.crew.muster()
    wanted = []
    with ExitStack() as stack:
        for name in "ab":
            wanted.append(team.crew.wants_more)
            work = cast(Work, Endless(1))
            stack.enter_context(team.crew.asked(team.request(name), work))
        assert [*wanted, team.crew.wants_more] == expected
        goes_on.set()
        wait_until(lambda: team.crew.wants_more)
    team.crew.stop()


def test_pieces_that_are_there_already_are_not_dealt():
    class Begun(Planned):
        def has(self, segment: Segment) -> bool:
            return segment.index in (0, 2)

    team = Team(1)
    team.crew.muster()
    request = team.request()
    with team.crew.asked(request, cast(Work, Begun(4))):
        team.crew.wait(request)
    assert team.finished == [1, 3]
    team.crew.stop()


def test_nothing_is_dealt_by_a_dealer_that_is_closed():
    dealer, request = Dealer(), Team(1).request()
    dealer.add(request, planned(1))
    wait_until(lambda: request.is_planned)
    dealer.close()
    assert dealer.take() is None
    assert not dealer.wait_for_segment()


def test_of_several_errors_the_first_counts():
    dealer, request = Dealer(), Team(1).request()
    first, second = UserError("the disk is full"), UserError("a worker died of it")
    dealer.fail(request, first)
    dealer.fail(request, second)
    assert request.error is first


def test_no_worker_is_at_an_output_any_more_when_it_is_left():
    begun = threading.Event()

    def hold(member: Member, _segment: Segment) -> None:
        begun.set()
        assert member.is_stopped.wait(10)
        time.sleep(0.1)  # as ending may take
        raise WorkerLost("ended")

    team = Team(1, hold)
    team.crew.muster()
    request = team.request()
    with team.crew.asked(request, planned(1)):
        assert begun.wait(10)
    assert request.num_out == 0
    team.crew.stop()


def test_what_fails_in_one_output_is_not_seen_by_another():
    def fail_in_a(member: Member, _segment: Segment) -> None:
        if member.tasks[-1].folder.name == "a":
            raise UserError("the disk is full")

    team = Team(2, fail_in_a)
    team.crew.muster()
    bad, good = team.request("a"), team.request("b")
    with team.crew.asked(good, planned(4)):
        with pytest.raises(UserError, match="the disk is full"), team.crew.asked(bad, planned(4)):
            team.crew.wait(bad)
        team.crew.wait(good)
    assert sorted(team.finished) == [0, 1, 2, 3]
    assert team.warnings == []
    team.crew.stop()


def test_an_output_that_is_given_up_ends_only_the_workers_at_it():
    at_work = threading.Barrier(3, timeout=10)
    holds = threading.Event()

    def hold(member: Member, _segment: Segment) -> None:
        if len(member.tasks) == 1 and member.number < 2:
            at_work.wait()
            while not member.is_stopped.is_set() and not holds.is_set():
                time.sleep(0.01)
            if member.is_stopped.is_set():
                raise WorkerLost("ended")

    team = Team(2, hold)
    team.crew.muster()
    kept = team.request("kept")
    with team.crew.asked(kept, planned(1)):
        with team.crew.asked(team.request("given up"), planned(1)):
            at_work.wait()
        (ended,) = [member for member in team.started if member.is_stopped.is_set()]
        assert ended.tasks[0].folder.name == "given up"
        holds.set()
        team.crew.wait(kept)
    assert team.warnings == []
    team.make(8)
    assert len(team.started) <= 3, "only the one that was ended is replaced"
    team.crew.stop()


def test_a_segment_that_was_dealt_too_often_is_dealt_to_nobody_while_its_request_ends(
    monkeypatch,
):
    dealer, request = Dealer(), Team(1).request()
    dealer.add(request, planned(1))
    wait_until(lambda: request.is_planned)
    dealt: list[object] = []
    fail = dealer.fail

    def fail_late(request: Request, error: BaseException) -> None:
        dealt.append(dealer.take())
        fail(request, error)

    monkeypatch.setattr(dealer, "fail", fail_late)
    for _ in range(MAX_ATTEMPTS):
        taken = dealer.take()
        assert taken is not None
        dealer.give_back(*taken)
    assert dealt == [None]
    assert isinstance(request.error, UserError)
