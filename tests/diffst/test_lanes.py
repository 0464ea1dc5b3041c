"""Several tasks at once, their results in order."""

import itertools
import threading
import time

import pytest
import torch

from diffst.lanes import MOST_LANES, in_order, num_lanes


@pytest.fixture(autouse=True)
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_results_come_in_the_order_of_the_tasks_whatever_ends_first():
    def work(n: int) -> int:
        time.sleep(0.02 * (3 - n % 4))
        return n * n

    assert list(in_order(work, range(12), lanes=4)) == [n * n for n in range(12)]


@pytest.mark.parametrize(("lanes", "share"), [(1, 4), (2, 2), (4, 1)])
def test_lanes_share_the_threads_and_give_them_back(lanes, share):
    given = list(in_order(lambda _: torch.get_num_threads(), range(8), lanes))
    assert given == [share] * 8
    assert torch.get_num_threads() == 4
    born_later: list[int] = []
    thread = threading.Thread(target=lambda: born_later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert born_later == [4]


def test_as_many_tasks_as_lanes_are_at_work():
    together = threading.Barrier(3)
    assert list(in_order(lambda _: together.wait(10) >= 0, range(9), lanes=3)) == [True] * 9


def test_tasks_are_taken_as_they_are_needed():
    taken = itertools.count()
    results = in_order(lambda n: n, taken, lanes=2)
    assert next(results) == 0
    results.close()
    assert next(taken) == 4, "two at work, one waiting, and the one that made room"


@pytest.mark.parametrize("lanes", [1, 2])
def test_an_error_is_raised_in_its_turn_and_ends_the_rest(lanes):
    done: list[int] = []

    def work(n: int) -> int:
        if n == 3:
            raise ValueError("third")
        done.append(n)
        return n

    results = in_order(work, range(100), lanes)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="third"):
        next(results)
    assert len(done) < 10
    assert not [t for t in threading.enumerate() if t.name.startswith("diffst-lane")]


def test_only_the_cpu_has_lanes():
    assert num_lanes(torch.device("cpu")) == MOST_LANES == 4
    assert num_lanes(torch.device("cuda")) == 1
    torch.set_num_threads(2)
    assert num_lanes(torch.device("cpu")) == 2


@pytest.mark.parametrize("lanes", [1, 3])
def test_a_task_that_is_made_of_others_waits_for_their_results(lanes):
    taken: list[int] = []
    seen = []
    for result in in_order(
        lambda n: (n, list(taken)), range(9), lanes, lambda n: n - 2 in (-2, -1, *taken)
    ):
        taken.append(result[0])
        seen.append(result)
    assert [n for n, _ in seen] == list(range(9))
    assert all(n - 2 in known for n, known in seen[2:])
