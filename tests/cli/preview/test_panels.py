import numpy as np
import pytest

from diffst_cli.preview.panels import (
    BAR,
    GAP,
    GROUND,
    INK,
    MAX_PANEL,
    choose_layout,
    make_labels,
    side_by_side,
)


def test_two_full_panels_are_full_hd():
    layout = choose_layout(np.zeros((2160, 3840, 3), np.uint8))
    assert layout.size == (1920, 1080)
    assert (layout.width, layout.height) == MAX_PANEL


@pytest.mark.parametrize(("left", "top"), [(0, 0), (2000, 700), (2600, 1100)])
def test_a_panel_holds_the_part_with_most_detail(left: int, top: int):
    picture = np.zeros((1440, 3000, 3), np.uint8)
    picture[top + 20 : top + 300, left + 20 : left + 380] = np.random.default_rng(0).integers(
        0, 256, (280, 360, 3), dtype=np.uint8
    )
    shown = choose_layout(picture).crop(picture)
    assert int((shown > 0).sum()) == int((picture > 0).sum())


def test_a_small_picture_is_shown_whole_but_for_an_odd_edge():
    picture = np.zeros((241, 427, 3), np.uint8)
    layout = choose_layout(picture)
    assert (layout.width, layout.height) == (426, 240)
    assert layout.size == (2 * 426 + GAP, 240 + 2 * BAR)


def test_pictures_and_labels_have_their_places():
    before, after = np.full((48, 200, 3), 90, np.uint8), np.full((48, 200, 3), 180, np.uint8)
    layout = choose_layout(after)
    above, below = make_labels(layout, "left", "", "1/6")
    whole = side_by_side(layout, before, after, above, below)
    assert whole.shape == (48 + 2 * BAR, 404, 3)
    assert np.unique(whole[BAR:-BAR, :200]).tolist() == [90]
    assert np.unique(whole[BAR:-BAR, -200:]).tolist() == [180]
    assert np.abs(whole[:BAR, :200].astype(int) - INK).max(axis=2).min() < 30  # letters
    assert (whole[:BAR, 204:] == GROUND).all()
    assert (whole[-BAR:] != GROUND).any()


def test_long_labels_are_made_to_fit():
    layout = choose_layout(np.zeros((48, 120, 3), np.uint8))
    above, _ = make_labels(layout, "a label that is far too long for its panel", "", "")
    assert (above[:, 112:] == GROUND).all()
    assert (above[:, 60:112] != GROUND).any()
