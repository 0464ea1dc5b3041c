"""Windows cover everything once, whatever the pieces, and meet without a jump."""

import math
from itertools import pairwise

import pytest
import torch

from diffst.fading import ramp
from diffst.wan.windows import WindowedStep, Windows, feather, starts, step_in_space


def fed(windowed: WindowedStep, latents: torch.Tensor) -> list[torch.Tensor]:
    """What is final after these latents."""
    windowed.take(latents)
    made = []
    while windowed.is_full:
        made.append(windowed.next_window())
    return made


def run(step, given: torch.Tensor, pieces: list[int], length: int, overlap: int) -> torch.Tensor:
    windowed = WindowedStep(step, length, overlap)
    made = []
    for piece in given.split(pieces):
        made += fed(windowed, piece)
    return torch.cat([*made, windowed.last_window()] if windowed.num_left else made)


def numbered(count: int) -> torch.Tensor:
    return torch.arange(count, dtype=torch.float64).view(-1, 1, 1, 1)


@pytest.mark.parametrize("count", [1, 4, 5, 8, 9, 12, 13, 23])
@pytest.mark.parametrize(("length", "overlap"), [(5, 2), (5, 0), (1, 0), (4, 3)])
def test_every_latent_comes_out_once_in_order(count, length, overlap):
    given = numbered(count)
    calls = []

    def step(latents: torch.Tensor) -> torch.Tensor:
        calls.append(len(latents))
        return latents

    assert torch.equal(run(step, given, [count], length, overlap), given)
    assert set(calls) == {min(count, length)}  # the last window is full too


def test_neighbours_fade_into_each_other():
    starts_seen = []

    def first_number(latents: torch.Tensor) -> torch.Tensor:
        starts_seen.append(int(latents[0].item()))
        return latents[:1].expand(len(latents), -1, -1, -1)

    made = run(first_number, numbered(12), [12], 5, 2).flatten()
    assert starts_seen == [0, 3, 6, 7]
    low, high = (0.5 - 0.5 * math.cos(math.pi * place) for place in (0.25, 0.75))
    expected = [0, 0, 0, 3 * low, 3 * high, 3, 3 + 3 * low, 3 + 3 * high, 6, 6 + low, 6 + high, 7]
    torch.testing.assert_close(made, torch.tensor(expected, dtype=torch.float64))


def test_shorter_windows_go_on_where_longer_ones_stopped():
    ran_out = []

    def first_number(latents: torch.Tensor) -> torch.Tensor:
        if latents[0] == 3 and len(latents) == 5:
            ran_out.append(len(latents))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return latents[:1].expand(len(latents), -1, -1, -1)

    windowed = WindowedStep(first_number, 5, 2)
    windowed.take(numbered(12))
    made = [windowed.next_window()]
    with pytest.raises(torch.OutOfMemoryError):
        windowed.next_window()
    windowed.shorten(4)
    while windowed.is_full:
        made.append(windowed.next_window())
    made.append(windowed.last_window())
    assert windowed.num_left == 0
    low, high = (0.5 - 0.5 * math.cos(math.pi * place) for place in (0.25, 0.75))
    # From 3, 5, 7, and as far back as the last window reaches, from 8.
    expected = [0, 0, 0, 3 * low, 3 * high, 3 + 2 * low, 3 + 2 * high, 5 + 2 * low, 5 + 2 * high]
    expected += [7 + low, 7 + high, 8]
    torch.testing.assert_close(
        torch.cat(made).flatten(), torch.tensor(expected, dtype=torch.float64)
    )
    assert ran_out == [5]


def test_shorter_windows_still_share_what_was_shared():
    windowed = WindowedStep(lambda latents: latents, 5, 2)
    windowed.take(numbered(9))
    made = [windowed.next_window()]
    windowed.shorten(1)
    assert windowed.length == 3
    while windowed.is_full:
        made.append(windowed.next_window())
    assert torch.equal(torch.cat([*made, windowed.last_window()]), numbered(9))


def test_windows_do_not_become_longer_on_the_way():
    """Whoever found enough latents for one finds enough for the next."""
    windowed = WindowedStep(lambda latents: latents, 3, 1)
    windowed.shorten(9)
    assert windowed.length == 3


@pytest.mark.parametrize("count", [4, 5, 11, 12, 20])
def test_the_pieces_change_no_bit(count):
    given = torch.rand(count, 2, 2, 2, dtype=torch.float64)

    def step(latents: torch.Tensor) -> torch.Tensor:
        return latents + latents.mean()

    whole = run(step, given, [count], 5, 2)
    for pieces in ([1] * count, [3, count - 3], [count - 1, 1]):
        assert torch.equal(run(step, given, pieces, 5, 2), whole)


def test_results_come_as_soon_as_no_later_latent_changes_them():
    windowed = WindowedStep(lambda latents: latents, 5, 2)
    assert [sum(map(len, fed(windowed, numbered(1)))) for _ in range(9)] == [
        0, 0, 0, 0, 3, 0, 0, 3, 0,
    ]  # fmt: skip
    assert len(windowed.seen) <= 2 * 5  # memory does not grow with the video


@pytest.mark.parametrize(
    ("size", "window", "overlap"), [(135, 68, 12), (240, 120, 12), (69, 68, 3)]
)
def test_windows_in_space_cover_all_and_share_enough(size, window, overlap):
    begins = starts(size, window, overlap)
    assert begins[0] == 0
    assert begins[-1] + window == size
    assert all(0 < b - a <= window - overlap for a, b in pairwise(begins))
    total = torch.zeros(size)
    for start in begins:
        weights = feather(size, start, window, overlap)
        assert weights.min() > 0
        total[start : start + window] += weights
    assert total.min() > 0


def test_outer_edges_are_not_faded():
    torch.testing.assert_close(feather(10, 0, 10, 2), torch.ones(10))
    torch.testing.assert_close(feather(10, 0, 6, 2), torch.tensor([1, 1, 1, 1, *ramp(2).flip(0)]))
    torch.testing.assert_close(feather(10, 4, 6, 2), torch.tensor([*ramp(2), 1, 1, 1, 1]))


# 17 tokens wide: three windows of 7. 11 high: three of 5; 13 high: three of 6, two of which share more than they must.
@pytest.mark.parametrize(("height", "high"), [(22, 10), (26, 12)])
def test_windows_in_space_blend_to_the_same_where_they_agree(height, high):
    given = torch.rand(2, 3, height, 34, dtype=torch.float64)
    shapes = []

    def step(latents: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(latents.shape[-2:]))
        return 2 * latents

    windows = Windows(tokens=(6, 8), overlap_tokens=2)
    torch.testing.assert_close(step_in_space(given, step, windows), 2 * given)
    assert set(shapes) == {(high, 14)}
    assert len(shapes) == 3 * 3


def test_what_fits_one_window_is_one_call():
    given = torch.rand(1, 3, 12, 16)
    windows = Windows(tokens=(6, 8), overlap_tokens=2)
    assert step_in_space(given, lambda latents: latents, windows) is given


def test_1080p_is_one_window_and_1440p_is_not():
    calls = []

    def step(latents: torch.Tensor) -> torch.Tensor:
        calls.append(latents.shape[-2] * latents.shape[-1] // 4)
        return latents

    step_in_space(torch.zeros(1, 1, 1088 // 8, 1920 // 8), step, Windows())
    assert calls == [68 * 120]
    calls.clear()
    step_in_space(torch.zeros(1, 1, 1440 // 8, 2560 // 8), step, Windows())
    assert calls == [51 * 86] * 4


@pytest.mark.parametrize("shape", [(9, 12), (12, 9)])
def test_odd_latents_are_refused(shape):
    with pytest.raises(ValueError, match="sides must be even"):
        step_in_space(torch.zeros(1, 16, *shape), lambda latents: latents, Windows())


def test_windows_no_longer_than_their_overlap_are_refused():
    with pytest.raises(ValueError, match="longer than their overlap"):
        Windows(latents=2, overlap_latents=2)
    with pytest.raises(ValueError, match="longer than their overlap"):
        Windows(tokens=(8, 12), overlap_tokens=8)
