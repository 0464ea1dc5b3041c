"""Output instants: counts, order, cuts, and exactness, for any times a video may have."""

from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffst_cli.timing import Instant, Timeline

F = Fraction
steps = st.lists(st.integers(1, 2000), min_size=0, max_size=20)  # milliseconds between keyframes
rates_x = st.fractions(min_value=1, max_value=8, max_denominator=1001)
rates = st.fractions(min_value=F(1, 2), max_value=240, max_denominator=1001)
starts = st.fractions(min_value=-5, max_value=100, max_denominator=90000)


def times_of(start: Fraction, gaps: list[int]) -> list[Fraction]:
    times = [start]
    for gap in gaps:
        times.append(times[-1] + F(gap, 1000))
    return times


def run(
    times: list[Fraction], end: Fraction, *, cuts: frozenset[int] = frozenset(), **rate: Any
) -> list[Instant]:
    timeline = Timeline(**rate)
    instants = []
    for index, time in enumerate(times):
        instants += timeline.add(time, starts_shot=index in cuts)
    instants += timeline.finish(end)
    assert timeline.num_instants == len(instants)
    return instants


def even(count: int, rate: Fraction) -> list[Fraction]:
    return [index / rate for index in range(count)]


def position_of(instant: Instant, times: list[Fraction]) -> Fraction:
    """When the shown position is, on the source's clock."""
    time = times[instant.keyframe]
    if instant.alpha == 0:
        return time
    return time + instant.alpha * (times[instant.keyframe + 1] - time)


def test_doubling_puts_one_frame_midway_and_holds_the_last():
    assert run([F(0), F(1), F(3)], F(4), fps_x=F(2)) == [
        Instant(0, F(0), F(0)),
        Instant(0, F(1, 2), F(1, 2)),
        Instant(1, F(0), F(1)),
        Instant(1, F(1, 2), F(2)),
        Instant(2, F(0), F(3)),
        Instant(2, F(0), F(7, 2)),
    ]


def test_factor_one_returns_the_source_times_of_a_variable_rate():
    times = times_of(F(1, 3), [33, 67, 100, 234, 33])
    instants = run(times, times[-1] + F(1, 30), fps_x=F(1))
    assert instants == [Instant(index, F(0), time) for index, time in enumerate(times)]


def test_a_real_factor_takes_real_positions():
    instants = run(even(5, F(10)), F(1, 2), fps_x=F(5, 2))
    assert len(instants) == 13  # 12.5 rounded up
    assert [(i.keyframe, i.alpha) for i in instants[:6]] == [
        (0, F(0)), (0, F(2, 5)), (0, F(4, 5)), (1, F(1, 5)), (1, F(3, 5)), (2, F(0)),
    ]  # fmt: skip


def test_a_constant_rate_from_film_to_60_is_exact():
    film, target = F(24000, 1001), F(60000, 1001)
    instants = run(even(72, film), 72 / film, fps=target)
    assert [i.time for i in instants] == [i / target for i in range(180)]
    assert instants[1].alpha == F(2, 5)
    assert instants[5] == Instant(2, F(0), 2 / film)


def test_a_constant_rate_starts_at_the_first_frame():
    instants = run([F(7, 5) + t for t in even(3, F(25))], F(7, 5) + F(3, 25), fps=F(50))
    assert [i.time for i in instants] == [F(7, 5) + F(i, 50) for i in range(6)]


def test_rounded_container_times_still_hit_their_keyframes():
    times = [F(round(i * 1000 / F(24000, 1001)), 1000) for i in range(48)]
    instants = run(times, F(2002, 1000), fps=F(48000, 1001))
    assert len(instants) == 96
    assert [i.keyframe for i in instants if i.alpha == 0][:-1] == list(range(48))


def test_no_frame_is_added_for_a_sliver_at_the_end():
    assert len(run(even(48, F(30)), F(16005, 10000), fps=F(60))) == 96


def test_a_tenth_of_a_frame_at_the_end_is_a_sliver_too():
    assert len(run([F(0)], F(21, 100), fps=F(10))) == 2
    assert len(run([F(0)], F(21, 100) + F(1, 10**6), fps=F(10))) == 3


def test_a_low_rate_of_many_frames_is_predicted_not_taken_from_the_nearest():
    # An instant is as far from its keyframes as it is, however long output frames are.
    instants = run([F(1, 1000) + F(i, 100) for i in range(40)], F(2, 5), fps=F(1000, 103))
    assert [(i.keyframe, i.alpha) for i in instants[:3]] == [
        (0, F(0)), (10, F(3, 10)), (20, F(3, 5)),
    ]  # fmt: skip


@pytest.mark.parametrize("rate", [{"fps_x": F(4)}, {"fps": F(40)}])
def test_nothing_is_predicted_across_a_cut(rate):
    instants = run(even(3, F(10)), F(3, 10), cuts=frozenset({1}), **rate)
    assert [(i.keyframe, i.alpha) for i in instants[:6]] == [
        (0, F(0)), (0, F(0)), (1, F(0)), (1, F(0)), (1, F(0)), (1, F(1, 4)),
    ]  # fmt: skip
    assert [i.time for i in instants] == [F(i, 40) for i in range(12)]


@pytest.mark.parametrize(
    ("rate", "count"), [({"fps_x": F(1)}, 1), ({"fps_x": F(3)}, 3), ({"fps": F(50)}, 2)]
)
def test_one_frame_is_held_for_its_own_duration(rate, count):
    instants = run([F(2)], F(2) + F(1, 25), **rate)
    assert [(i.keyframe, i.alpha) for i in instants] == [(0, F(0))] * count
    assert instants[0].time == 2


def test_a_video_of_no_frames_has_no_instants():
    assert Timeline(fps_x=F(2)).finish(F(1)) == []


@pytest.mark.parametrize(
    "rate",
    [{}, {"fps_x": F(2), "fps": F(60)}, {"fps_x": F(1, 2)}, {"fps": F(0)}],
)
def test_senseless_rates_are_refused(rate):
    with pytest.raises(ValueError, match="fps"):
        Timeline(**rate)


def test_times_that_do_not_increase_are_refused():
    timeline = Timeline(fps_x=F(2))
    timeline.add(F(1))
    with pytest.raises(ValueError, match="does not come after"):
        timeline.add(F(1))
    with pytest.raises(ValueError, match="does not come after"):
        timeline.finish(F(1))


@given(starts, steps, rates_x, st.frozensets(st.integers(0, 20)))
def test_a_factor_gives_the_promised_count_in_order(start, gaps, factor, cuts):
    times = times_of(start, gaps)
    instants = run(times, times[-1] + F(1, 25), cuts=cuts, fps_x=factor)
    assert len(instants) == int(len(times) * factor + F(1, 2))
    check_order(instants, times, cuts)
    for instant in instants:
        if instant.keyframe + 1 < len(times) and not cuts:
            assert position_of(instant, times) == instant.time


@given(starts, steps, rates, st.frozensets(st.integers(0, 20)))
def test_a_rate_gives_evenly_spaced_instants_to_the_end(start, gaps, rate, cuts):
    times = times_of(start, gaps)
    end = times[-1] + F(1, 25)
    instants = run(times, end, cuts=cuts, fps=rate)
    assert [i.time for i in instants] == [start + i / rate for i in range(len(instants))]
    assert instants[-1].time < end <= instants[-1].time + F(11, 10) / rate
    check_order(instants, times, cuts)
    for instant in instants:
        if not cuts and instant.time <= times[-1]:
            assert abs(position_of(instant, times) - instant.time) <= F(1, 32) / rate


def check_order(instants: list[Instant], times: list[Fraction], cuts: frozenset[int]) -> None:
    assert instants[0].time == times[0]
    assert all(a.time < b.time for a, b in pairwise(instants))
    assert all((a.keyframe, a.alpha) <= (b.keyframe, b.alpha) for a, b in pairwise(instants))
    assert all(0 <= i.alpha < 1 for i in instants)
    assert all(i.alpha == 0 for i in instants if i.keyframe + 1 in cuts)
    assert all(i.alpha == 0 for i in instants if i.keyframe + 1 == len(times))
