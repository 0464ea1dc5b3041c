"""Tiles cover the picture once, and what is made of them is what is made of the whole."""

from fractions import Fraction
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from diffst import tiling
from diffst.pipeline import DiffSTPipeline
from diffst.tiling import FADE, HALO, WHOLE_SIDE, Canvas, in_phase, owned, spans, tiles
from tests.diffst.tiny import tiny_pipeline

CODE = 1 / 255  # one step of 8-bit output


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut even small pictures, so that a test stays quick."""
    monkeypatch.setattr(tiling, "WHOLE_PIXELS", 1)
    monkeypatch.setattr(tiling, "LONGEST_SIDE", 128)


@pytest.fixture(scope="module")
def pipeline() -> DiffSTPipeline:
    return tiny_pipeline()


def moving_texture(num_frames: int, height: int, width: int) -> torch.Tensor:
    """Texture of several sizes that moves 3 pixels right and 1 down a frame."""
    generator = torch.Generator().manual_seed(3)
    wide = sum(
        F.interpolate(
            torch.rand(1, 3, height // step + 12, width // step + 12, generator=generator),
            size=(height + 32, width + 64),
            mode="bicubic",
        )
        for step in (4, 12)
    )
    assert isinstance(wide, torch.Tensor)
    moments = [
        wide[..., 16 - t : 16 - t + height, 32 - 3 * t :][..., :width] for t in range(num_frames)
    ]
    return (torch.cat(moments) / 2).clamp(0, 1)


@pytest.mark.parametrize("frame", [(180, 320), (480, 640), (32, 9600)])
def test_a_picture_of_no_more_than_so_many_pixels_is_one_tile(frame):
    (tile,) = tiles(frame, (4 * frame[0], 4 * frame[1]))
    assert tile.window == (slice(0, frame[0]), slice(0, frame[1]))
    assert tile.size == (4 * frame[0], 4 * frame[1])


@pytest.mark.parametrize("side", [513, 700, 1080, 1920, 2160, 3840, 5003])
@pytest.mark.parametrize("ratio", ["4", "2", "1", "3/2", "8", "0.37", "1/100"])
def test_spans_cover_a_side_once_but_for_the_fades(side, ratio):
    out_side = round(side * Fraction(ratio))
    found = spans(side, out_side, 512)
    assert (found[0].given.start, found[-1].given.stop) == (0, out_side)
    assert (found[0].fade_before, found[-1].fade_after) == (0, 0)
    for before, after in pairwise(found):
        assert before.fade_after == after.fade_before == before.given.stop - after.given.start
        assert before.fade_after == pytest.approx(FADE * out_side / side, abs=1)
    for span in found:
        assert span.made.start <= span.given.start <= span.given.stop <= span.made.stop
        own = span.given.stop - span.given.start - span.fade_before - span.fade_after
        assert own >= 0


@pytest.mark.parametrize(("side", "out_side"), [(1920, 7680), (1920, 2561), (1999, 2743)])
def test_what_spans_own_covers_a_side_once(side, out_side):
    found = spans(side, out_side, 512)
    assert any(span.fade_after % 2 for span in found) == (out_side != 4 * side)
    own = [owned(span) for span in found]
    assert (own[0].start, own[-1].stop) == (0, out_side)
    assert all(before.stop == after.start for before, after in pairwise(own))


@pytest.mark.parametrize(("side", "out_side", "longest"), [(64, 256, 48), (200, 4, 128)])
def test_a_side_that_is_hardly_more_than_its_margins_is_one_span(side, out_side, longest):
    (span,) = spans(side, out_side, longest)
    assert (span.seen, span.given) == (slice(0, side), slice(0, out_side))


def test_a_tile_sees_its_halo_and_is_not_much_longer_than_wanted():
    for span in spans(3840, 15360, 512):
        assert span.seen.stop - span.seen.start <= 512 + 2 * tiling.LATENT_GRID
        assert span.given.start - span.made.start >= 4 * HALO or span.seen.start == 0
        assert span.made.stop - span.given.stop >= 4 * HALO or span.seen.stop == 3840


def test_edges_meet_output_pixels():
    for side, out_side in [(1080, 1620), (1920, 2880), (2160, 4320), (1999, 2743)]:
        ratio = Fraction(out_side, side)
        for span in spans(side, out_side, 512):
            for low, high in ((span.seen.start, span.made.start), (span.seen.stop, span.made.stop)):
                assert abs(low * ratio - high) <= Fraction(3, 100)


def test_the_edge_on_the_latent_grid_is_taken_where_several_fit():
    assert in_phase(range(100, 130), 500, Fraction(4)) == 112
    assert in_phase(range(101, 110), 500, Fraction(3, 2)) == 102
    assert in_phase(range(101, 104), 500, Fraction(4)) == 102  # that of the coarse features always
    assert in_phase(range(103, 104), 103, Fraction(4)) == 103  # the picture's edge is on every grid


def test_progress_is_told_for_each_tile(small_tiles: None, pipeline: DiffSTPipeline):
    told: list[tuple[str, int, int]] = []
    size, frames = (2 * 96, 2 * 200), moving_texture(2, 96, 200)
    pipeline(frames, [(0, 0.0), (0, 0.5)], size, on_progress=lambda *now: told.append(now))
    total = 3 * len(list(tiles((96, 200), size)))
    assert total > 3
    assert told == [("tiles", number + 1, total) for number in range(total)]


def test_a_canvas_gives_back_what_was_cut_up():
    picture = torch.rand(2, 3, 700, 1400)
    made = torch.zeros_like(picture)
    canvas = Canvas(made)
    for tile in tiles((700, 1400), (700, 1400)):
        canvas.add(picture[..., tile.rows.made, tile.columns.made], tile)
    torch.testing.assert_close(made, picture, rtol=0, atol=1e-6)


def test_a_canvas_of_floats_keeps_them_in_range():
    (tile,) = tiles((4, 4), (4, 4))
    made = torch.zeros(1, 3, 4, 4)
    Canvas(made).add(torch.linspace(-0.5, 1.5, 48).view(1, 3, 4, 4), tile)
    assert [float(end) for end in made.aminmax()] == [0, 1]


def test_a_seam_fades_from_one_tile_to_the_next():
    first, second = tiles((400, 900), (400, 900))
    made = torch.zeros(1, 3, 400, 900)
    canvas = Canvas(made)
    canvas.add(torch.zeros(1, 3, *first.size), first)
    canvas.add(torch.ones(1, 3, *second.size), second)
    seam = made[0, 0, 0, second.columns.given.start : first.columns.given.stop]
    expected = 0.5 - 0.5 * torch.cos(torch.pi * (torch.arange(FADE) + 0.5) / FADE)
    torch.testing.assert_close(seam, expected)
    assert made[..., : second.columns.given.start].max() == 0
    assert made[..., first.columns.given.stop :].min() == 1


@pytest.mark.parametrize("scale", ["4", "2", "1", "3/2", "1/2"])
def test_tiles_make_what_the_whole_picture_makes(small_tiles, pipeline, monkeypatch, scale):
    clip = moving_texture(4, 150, 200)
    size = (int(150 * Fraction(scale)), int(200 * Fraction(scale)))
    assert len(list(tiles((150, 200), size))) >= 4
    instants = [(1, 0.0), (1, 0.5)]
    cut = pipeline(clip, instants, size)
    monkeypatch.setattr(tiling, "WHOLE_PIXELS", 150 * 200)
    whole = pipeline(clip, instants, size)
    # What is left is what a tile's attention does not see of the rest.
    assert (cut - whole).abs().max() < CODE / 2


def test_a_size_that_meets_no_pixels_is_off_by_a_few_hundredths_of_a_pixel(
    small_tiles, pipeline, monkeypatch
):
    clip = moving_texture(2, 151, 199)
    cut = pipeline(clip, [(0, 0.0)], (211, 263))
    monkeypatch.setattr(tiling, "WHOLE_PIXELS", 151 * 199)
    whole = pipeline(clip, [(0, 0.0)], (211, 263))
    assert (cut - whole).abs().mean() < 2 * CODE  # random weights say more than trained ones


def test_tiles_of_a_still_clip_are_still(small_tiles, pipeline):
    clip = moving_texture(1, 150, 200).expand(3, -1, -1, -1)
    made = pipeline(clip, [(0, 0.0), (1, 0.0), (1, 0.5)], (300, 400), output_type=torch.uint8)
    assert torch.equal(made[0], made[1])
    assert (
        made[0].int() - made[2].int()
    ).abs().max() <= 1  # weights of 1/3 do not sum to 1 exactly


def test_a_picture_longer_than_the_transformer_can_number_is_cut():
    (whole,) = tiles((8, WHOLE_SIDE), (4, WHOLE_SIDE // 2))
    assert whole.size == (4, WHOLE_SIDE // 2)
    longer = [tile.window[1] for tile in tiles((8, WHOLE_SIDE + 2), (4, WHOLE_SIDE // 2 + 1))]
    assert max(columns.stop - columns.start for columns in longer) < 1000
