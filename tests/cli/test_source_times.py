"""Broken timestamps are repaired, good ones are not touched."""

from fractions import Fraction
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from diffst_cli.source_times import IncreasingTimes

STEP, TICK = Fraction(1, 25), Fraction(1, 90000)
NUT_TICK = Fraction(1, 102_400)


def repair(
    times: list[Fraction], *, step: Fraction = STEP, tick: Fraction = TICK
) -> list[Fraction]:
    repairer = IncreasingTimes(nominal_step=step, tick=tick)
    return [repairer.repair(time, NUT_TICK) for time in times]


def test_good_times_pass_untouched_whatever_their_spacing():
    times = [Fraction(n, 1000) for n in (21, 54, 87, 400, 434, 2000)]
    assert repair(times) == times


def test_a_duplicate_is_squeezed_in_and_the_rest_keep_their_times():
    times = [n * STEP for n in (0, 1, 1, 2, 3)]
    assert repair(times) == [0, STEP, STEP * 5 / 4, 2 * STEP, 3 * STEP]


def test_a_duplicate_that_nut_moved_by_a_tick_is_seen_as_one():
    assert repair([Fraction(0), STEP, STEP + TICK, 2 * STEP])[2] == STEP * 5 / 4


def test_a_clock_set_back_goes_on_at_the_nominal_rate():
    first = [n * STEP for n in range(10)]
    stuck = [first[-1] + n * TICK for n in range(1, 8)]  # what NUT makes of a jump back
    later = [stuck[-1] + n * STEP for n in range(1, 4)]
    repaired = repair(first + stuck + later)
    squeezed = [STEP / 4] * 3 + [STEP * 13 / 4]  # until it is clear that they are no duplicates
    assert [b - a for a, b in pairwise(repaired)] == [STEP] * 9 + squeezed + [STEP] * 6


def test_a_burst_after_a_stall_that_has_room_for_it_shifts_nothing():
    times = [n * STEP for n in (0, 1, 2, 8)]
    times += [8 * STEP + n * TICK for n in range(1, 7)]  # what NUT makes of equal ones
    times += [n * STEP for n in (9, 10, 11, 12)]
    burst = [8 * STEP + n * STEP / 4 for n in range(7)]
    catching_up = [burst[-1] + STEP / 4, 10 * STEP, 11 * STEP, 12 * STEP]
    assert repair(times) == [*times[:3], *burst, *catching_up]


def test_a_burst_longer_than_the_gap_before_it_is_a_clock_set_back():
    times = [n * STEP for n in (0, 1, 5)]
    times += [5 * STEP + n * TICK for n in range(1, 7)]
    after = [times[-1] + n * STEP for n in (1, 2)]
    repaired = repair(times + after)
    assert repaired[-3:] == [(11 + n) * STEP for n in range(3)]


def test_a_gap_too_long_to_be_true_is_closed():
    assert repair([Fraction(0), STEP, Fraction(90000), 90000 + STEP]) == [
        n * STEP for n in range(4)
    ]


def test_a_step_of_one_tick_of_nut_is_a_duplicate_however_coarse_the_files_clock():
    times = [Fraction(0), STEP, STEP + NUT_TICK, 2 * STEP]
    assert repair(times, tick=STEP) == [0, STEP, STEP * 5 / 4, 2 * STEP]


def test_a_step_of_one_tick_of_the_file_is_a_duplicate_only_where_that_is_far_less_than_a_frame():
    fine, coarse = Fraction(1, 1000), Fraction(1, 100)
    times = [Fraction(0), STEP, STEP + fine, 2 * STEP]
    assert repair(times, tick=fine) == [0, STEP, STEP * 5 / 4, 2 * STEP]
    assert repair([n * STEP for n in range(5)], tick=STEP) == [n * STEP for n in range(5)]
    delays = [Fraction(n, 100) for n in (0, 10, 11, 13, 23)]  # of a GIF
    assert repair(delays, step=Fraction(1, 10), tick=coarse) == delays


@given(st.lists(st.fractions(min_value=-10, max_value=10, max_denominator=90000), max_size=30))
def test_times_always_increase(times):
    repaired = repair(times)
    assert all(a < b for a, b in pairwise(repaired))
    assert repaired[:1] == times[:1]
