"""Tiles cover the picture, and where one tile is the picture nothing changes."""

from typing import Any

import pytest
import torch

from diffst.wan import build_random
from diffst.wan import tiles as vae_tiles
from diffst.wan.codec import WanCodec
from diffst.wan.tiles import VaeTiles, cut


@pytest.fixture(scope="module")
def codec() -> WanCodec:
    return build_random("tiny", dtype=torch.float32).codec


def clip() -> torch.Tensor:
    return torch.rand(6, 3, 12, 20, generator=torch.Generator().manual_seed(0))


def encode_tiled(codec: WanCodec, frames: torch.Tensor, size: tuple[int, int], tiles: VaeTiles):
    return vae_tiles.encode_tiled(codec, [frames], size, tiles, device=torch.device("cpu"))


def decode_tiled(
    codec: WanCodec, latents: torch.Tensor, size: tuple[int, int], tiles: VaeTiles, **options: Any
):
    made = vae_tiles.decode_tiled(
        codec, latents, size, tiles, device=torch.device("cpu"), **options
    )
    return torch.cat(made)


@pytest.mark.parametrize("unit", [1, 8])
def test_tiles_cover_everything_and_are_no_larger_than_asked(unit):
    tiles = list(cut((112, 208), VaeTiles(side=64, overlap=32), unit))
    total = torch.zeros(112 // unit, 208 // unit)
    for tile in tiles:
        assert tile.weight.shape == (64 // unit, 64 // unit)
        assert tile.weight.min() > 0
        total[tile.rows, tile.columns] += tile.weight
    assert total.min() > 0
    assert len(tiles) == 3 * 6


@torch.inference_mode()
def test_a_tile_as_large_as_the_picture_changes_no_bit(codec):
    tiles = VaeTiles(side=96, overlap=16)
    encoded = codec.encode(clip(), clip(), (44, 84))
    latents = encode_tiled(codec, clip(), (44, 84), tiles)
    assert torch.equal(latents, encoded.latents)
    made = decode_tiled(codec, latents, (44, 84), tiles)
    assert made.shape == (9, 3, 44, 84)
    assert torch.equal(made[:6], codec.decode(latents, encoded))


@torch.inference_mode()
def test_neighbours_fade_into_each_other_along_a_cosine(codec):
    latents = torch.randn(2, 16, 8, 14, generator=torch.Generator().manual_seed(1))
    made = decode_tiled(codec, latents, (64, 112), VaeTiles(side=64, overlap=16))
    whole = VaeTiles(side=64, overlap=0)
    left, right = (
        decode_tiled(codec, latents[..., part], (64, 64), whole)
        for part in (slice(0, 8), slice(6, 14))
    )
    place = (torch.arange(16) + 0.5) / 16
    weight = 0.5 - 0.5 * torch.cos(torch.pi * place)
    faded = (1 - weight) * left[..., 48:] + weight * right[..., :16]
    expected = torch.cat((left[..., :48], faded, right[..., 16:]), dim=-1)
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-5)
    assert (left[..., 48:] - right[..., :16]).abs().mean() > 0.01


@torch.inference_mode()
def test_latents_of_tiles_fade_too(codec):
    frames = torch.rand(2, 3, 64, 112, generator=torch.Generator().manual_seed(0))
    made = encode_tiled(codec, frames, (64, 112), VaeTiles(side=64, overlap=16))
    left, right = (
        codec.encode(part, part, (64, 64)).latents for part in (frames[..., :64], frames[..., 48:])
    )
    assert torch.equal(made[..., :6], left[..., :6])
    assert torch.equal(made[..., 8:], right[..., 2:])
    weight = 0.5 - 0.5 * torch.cos(torch.pi * torch.tensor([0.25, 0.75]))
    faded = (1 - weight) * left[..., 6:] + weight * right[..., :2]
    torch.testing.assert_close(made[..., 6:8], faded, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_the_inside_of_a_tile_is_the_vae_on_that_tile(codec):
    latents = torch.randn(2, 16, 8, 16, generator=torch.Generator().manual_seed(1))
    made = decode_tiled(codec, latents, (64, 128), VaeTiles(side=64, overlap=0))
    right = decode_tiled(codec, latents[..., 8:], (64, 64), VaeTiles(side=64, overlap=0))
    assert torch.equal(made[..., 64:], right)


@pytest.mark.parametrize(("side", "overlap"), [(100, 16), (64, 8), (64, 64)])
def test_tiles_that_do_not_fit_the_vae_are_refused(side, overlap):
    with pytest.raises(ValueError, match="tiles"):
        VaeTiles(side=side, overlap=overlap)


@torch.inference_mode()
def test_half_precision_keeps_eight_bits(codec):
    latents = torch.randn(3, 16, 8, 14, generator=torch.Generator().manual_seed(1))
    asked = (codec, latents, (64, 112), VaeTiles(side=64, overlap=16))
    exact, short = (decode_tiled(*asked, kept=kept) for kept in (torch.float32, torch.float16))
    assert short.dtype == torch.float16
    assert (short.float() - exact).clamp(-1, 2).abs().max() < 1 / 255 / 4


@torch.inference_mode()
def test_where_a_shots_frames_are_cut_changes_no_bit_of_its_tiles(codec):
    frames = torch.rand(10, 3, 64, 112, generator=torch.Generator().manual_seed(0))
    options: dict[str, Any] = {
        "tiles": VaeTiles(side=64, overlap=16),
        "device": torch.device("cpu"),
    }
    whole, pieces = (
        vae_tiles.encode_tiled(codec, frames.split(length), (64, 112), **options)
        for length in (10, 3)
    )
    assert torch.equal(pieces, whole)
