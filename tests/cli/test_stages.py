from collections.abc import Iterator

import pytest

from diffst_cli.stages import Stages


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr("diffst_cli.stages.time.perf_counter", lambda: now[0])
    return now


def test_seconds_of_one_stage_add_up(clock: list[float]):
    counted = Stages()
    for _ in range(2):
        with counted.timed("model"):
            clock[0] += 1.5
    counted.add("read", 0.25)
    assert counted.seconds() == {"model": 3.0, "read": 0.25}


def test_time_before_an_error_counts(clock: list[float]):
    counted = Stages()

    def fail() -> None:
        with counted.timed("model"):
            clock[0] += 2.0
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert counted.seconds() == {"model": 2.0}


def test_only_getting_items_counts_not_using_them(clock: list[float]):
    def slow_items() -> Iterator[str]:
        for item in "ab":
            clock[0] += 1.0
            yield item
        clock[0] += 0.5  # what it takes to find the end

    counted = Stages()
    got = []
    for item in counted.timed_items("read", slow_items()):
        got.append(item)
        clock[0] += 100.0
    assert got == ["a", "b"]
    assert counted.seconds() == {"read": 2.5}
