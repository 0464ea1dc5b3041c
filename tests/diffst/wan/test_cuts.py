"""A tile that is cut into smaller ones stays the same part of the picture, and remembers the same."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffst.wan.cuts import Tile, VaeTiles, cut
from diffst.wan.sizes import even_side
from diffst.wan.windows import starts
from diffst_cli.ladders import wan_tile
from tests.cli.test_ladders import workload


@pytest.mark.parametrize("unit", [1, 8])
def test_shares_of_tiles_within_tiles_sum_to_one(unit: int):
    high, wide = 96, 176
    share = torch.ones(high // unit, wide // unit)
    picture = Tile(rows=slice(0, high), columns=slice(0, wide), share=share)
    total = torch.zeros_like(share)
    first, *others = picture.cut(VaeTiles(side=80, overlap=32))
    for tile in (*first.cut(VaeTiles(side=48, overlap=16)), *others):
        assert tile.share.shape == tuple(side // unit for side in tile.size)
        total[tile.places(unit)] += tile.share
    torch.testing.assert_close(total, share)


def test_a_tile_inside_takes_its_part_of_what_is_remembered_at_every_size():
    share = torch.ones(64, 96)
    places = torch.arange(64)[:, None] * 1000 + torch.arange(96)
    cache = [places, places[::8, ::8], "Rep", None]
    tile = Tile(rows=slice(16, 80), columns=slice(32, 128), share=share, latents=5, cache=cache)
    inner = tile.cut(VaeTiles(side=64, overlap=16))
    assert [(each.rows, each.columns) for each in inner] == [
        (slice(16, 80), slice(32, 96)),
        (slice(16, 80), slice(64, 128)),
    ]
    assert {each.latents for each in inner} == {5}
    for each, left in zip(inner, (0, 32), strict=True):
        assert each.cache is not None
        whole, small, *marks = each.cache
        assert torch.equal(whole, places[:, left : left + 64])
        assert torch.equal(small, places[::8, left : left + 64 : 8])
        assert marks == ["Rep", None]


@pytest.mark.parametrize(("side", "overlap"), [(100, 16), (64, 8), (64, 64)])
def test_tiles_that_do_not_fit_the_vae_are_refused(side, overlap):
    with pytest.raises(ValueError, match="tiles"):
        VaeTiles(side=side, overlap=overlap)


@pytest.mark.parametrize("unit", [1, 8])
def test_tiles_cover_everything_and_are_no_larger_than_asked(unit):
    tiles = list(cut((112, 208), VaeTiles(side=64, overlap=32), unit))
    total = torch.zeros(112 // unit, 208 // unit)
    for tile in tiles:
        assert tile.size == (64, 64)
        assert tile.share.shape == (64 // unit, 64 // unit)
        assert tile.share.min() > 0
        total[tile.places(unit)] += tile.share
    assert total.min() > 0
    assert len(tiles) == 3 * 6


@given(data=st.data(), overlap=st.integers(0, 9), length=st.integers(1, 400))
def test_a_side_is_the_shortest_that_needs_no_more_pieces(
    data: st.DataObject, overlap: int, length: int
):
    most = data.draw(st.integers(overlap + 1, 60))
    side = even_side(length, most, overlap)
    begins = starts(length, side, overlap)
    assert side <= most
    assert len(begins) == len(starts(length, most, overlap))
    assert all(one + side - next_one >= overlap for one, next_one in itertools.pairwise(begins))
    assert (begins[0], begins[-1] + side) == (0, length)
    # With one cell less, so many pieces could not cover it.
    assert len(begins) * (side - 1) - (len(begins) - 1) * overlap < length


@pytest.mark.parametrize(
    ("size", "most", "sizes"),
    [
        ((720, 1280), 1024, (1, 2, 720, 672)),
        ((1088, 1920), 1024, (2, 2, 576, 992)),
        ((1088, 1920), 768, (2, 3, 576, 688)),
        ((2160, 3840), 1024, (3, 4, 768, 1008)),
    ],
)
def test_tiles_make_little_twice(
    size: tuple[int, int], most: int, sizes: tuple[int, int, int, int]
):
    tiles = list(cut(size, VaeTiles(side=most, overlap=64), 8))
    down, across, height, width = sizes
    assert len(tiles) == down * across
    assert {tile.size for tile in tiles} == {(height, width)}
    assert sum(tile.size[0] * tile.size[1] for tile in tiles) < 1.2 * size[0] * size[1]
    work = workload(output_size=(size[1], size[0]))
    assert wan_tile(work, most) == (width, height)
