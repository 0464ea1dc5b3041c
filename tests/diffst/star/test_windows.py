"""Windows cover everything once, by weight."""

from itertools import pairwise

import pytest
import torch

from diffst.star.windows import (
    HEIGHT_REMAINDER,
    TILE_OVERLAP,
    cut_pieces,
    faded_pieces,
    frame_windows,
    in_pieces,
    tile_windows,
)
from tests.diffst.star.reference import table


def test_windows_of_frames_are_the_references():
    cases = table("star_schedule")["chunks"]
    assert len(cases) == 21
    for case in cases:
        windows = frame_windows(case["frames"], case["max_chunk_len"])
        known = case["chunks"]
        assert len(windows) == case["n"]
        if "..." in known:
            gap = known.index("...")
            windows, known = (
                windows[:gap] + windows[gap - len(known) + 1 :],
                known[:gap] + known[gap + 1 :],
            )
        assert windows == [tuple(window) for window in known], case


@pytest.mark.parametrize("pieces", [cut_pieces, faded_pieces])
@pytest.mark.parametrize(("frames", "most"), [(5, 8), (60, 32), (9, 7), (10, 1), (30, 5)])
def test_weights_of_a_place_sum_to_one(pieces, frames, most):
    made = pieces(frame_windows(frames, most))
    total = torch.zeros(frames)
    for (start, stop), weight in zip(made.windows, made.weights, strict=True):
        total[start:stop] += weight
    torch.testing.assert_close(total, torch.ones(frames))


def test_a_cut_lies_in_the_middle_of_what_is_shared():
    made = cut_pieces([(0, 8), (4, 12)])
    assert made.weights[0].tolist() == [1, 1, 1, 1, 1, 1, 0, 0]
    assert made.weights[1].tolist() == [0, 0, 1, 1, 1, 1, 1, 1]


def test_a_fade_runs_along_a_cosine_and_reaches_neither_end():
    made = faded_pieces([(0, 4), (2, 6)])
    low = 0.5 - 0.5 * 2**-0.5
    torch.testing.assert_close(made.weights[1], torch.tensor([low, 1 - low, 1, 1]))
    torch.testing.assert_close(made.weights[0], torch.tensor([1, 1, 1 - low, low]))


@pytest.mark.parametrize(("side", "most", "remainder"), [(122, 74, 2), (216, 96, 0), (90, 89, 2)])
def test_tiles_reach_both_ends_share_enough_and_fit_the_network(side, most, remainder):
    windows = tile_windows(side, most, remainder)
    assert windows[0][0] == 0
    assert windows[-1][1] == side
    assert {(stop - start) % 8 for start, stop in windows} == {remainder}
    assert all(stop - start <= most for start, stop in windows)
    shared = [a[1] - b[0] for a, b in pairwise(windows)]
    assert shared
    assert min(shared) >= TILE_OVERLAP


def test_a_side_that_fits_is_one_tile():
    assert tile_windows(90, 90, HEIGHT_REMAINDER) == [(0, 90)]


def test_tiles_too_small_to_overlap_are_refused():
    with pytest.raises(ValueError, match="tiles of 16 are too small"):
        tile_windows(90, 16, HEIGHT_REMAINDER)


@pytest.mark.parametrize("pieces", [cut_pieces, faded_pieces])
def test_pieces_put_together_are_the_whole(pieces):
    whole = torch.randn(1, 2, 9, 26, 40, generator=torch.Generator().manual_seed(0))
    sides = (
        pieces(frame_windows(9, 4)),
        faded_pieces(tile_windows(26, 18, 2)),
        faded_pieces(tile_windows(40, 24, 0)),
    )
    asked = []

    def run(place):
        asked.append(place)
        frames, rows, columns = place
        return whole[:, :, frames, rows, columns]

    torch.testing.assert_close(in_pieces(run, whole, sides), whole)
    assert len(asked) == len(sides[0].windows) * 2 * 2
