"""Tiles cover the picture, and where one tile is the picture nothing changes."""

import pytest
import torch

from diffst.wan import build_random
from diffst.wan.build import random_tiny_decoder
from diffst.wan.codec import WanCodec, WanEncoder
from diffst.wan.cuts import Cuts, VaeTiles
from diffst.wan.tiles import TiledVae
from tests.diffst.wan.short_of_memory import CPU, ShortOfMemory, columns, in_parts


@pytest.fixture(scope="module")
def codec() -> WanCodec:
    return build_random("tiny", dtype=torch.float32).codec


def clip() -> torch.Tensor:
    return torch.rand(6, 3, 12, 20, generator=torch.Generator().manual_seed(0))


def vae(codec: WanCodec, size: tuple[int, int], tiles: VaeTiles) -> TiledVae:
    return TiledVae(codec, size, lambda: Cuts(vae_tiles=tiles), device=CPU)


def encode_tiled(codec: WanCodec, frames: torch.Tensor, size: tuple[int, int], tiles: VaeTiles):
    return vae(codec, size, tiles).encode(frames.unbind())


def decode_tiled(
    codec: WanCodec,
    latents: torch.Tensor,
    size: tuple[int, int],
    tiles: VaeTiles,
    kept: torch.dtype = torch.float32,
):
    return torch.stack(vae(codec, size, tiles).decode(latents, kept))


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


@torch.inference_mode()
def test_half_precision_keeps_eight_bits(codec):
    latents = torch.randn(3, 16, 8, 14, generator=torch.Generator().manual_seed(1))
    asked = (codec, latents, (64, 112), VaeTiles(side=64, overlap=16))
    exact, short = (decode_tiled(*asked, kept=kept) for kept in (torch.float32, torch.float16))
    assert short.dtype == torch.float16
    assert (short.float() - exact).clamp(-1, 2).abs().max() < 1 / 255 / 4


@torch.inference_mode()
@pytest.mark.parametrize("decoder", ["full", "tiny"])
def test_smaller_tiles_go_on_decoding_with_what_the_larger_one_remembered(monkeypatch, decoder):
    codec = build_random("tiny", dtype=torch.float32).codec
    if decoder == "tiny":
        codec.take_tiny_decoder(random_tiny_decoder("tiny", dtype=torch.float32))
    latents = torch.randn(5, 16, 4, 8, generator=torch.Generator().manual_seed(1))
    before = codec.decoder((32, 64))
    first = torch.cat(list(before.feed(latents[:3])))

    def part(left: int) -> torch.Tensor:
        stream = codec.decoder((32, 32))
        stream.stream.cache, stream.stream.started = columns(before.stream.cache, left), True
        return torch.cat(list(stream.feed(latents[3:, :, :, left // 8 : left // 8 + 4])))

    expected = torch.cat((first, in_parts(part, 1)))
    short = ShortOfMemory(monkeypatch, codec, "decode_piece", failing=3)
    made = torch.stack(short.vae((32, 64)).decode(latents))
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-5)
    assert short.widths == [8, 8, 8, 8, *[4, 4] * 3]


@torch.inference_mode()
def test_smaller_tiles_go_on_encoding_with_what_the_larger_one_remembered(monkeypatch, codec):
    frames = torch.rand(17, 3, 32, 64, generator=torch.Generator().manual_seed(0))
    before = WanEncoder(codec, (32, 64))
    first = torch.cat(list(before.feed(frames[:9])))

    def part(left: int) -> torch.Tensor:
        encoder = WanEncoder(codec, (32, 64), area=(slice(0, 32), slice(left, left + 32)))
        encoder.stream.cache, encoder.stream.started = columns(before.stream.cache, left), True
        return torch.cat(list(encoder.feed(frames[9:])))

    expected = torch.cat((first, in_parts(part, 8)))
    short = ShortOfMemory(monkeypatch, codec, "encode_piece", failing=4)
    made = short.vae((32, 64)).encode(frames.unbind())
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-5)
    assert short.widths == [64, 64, 64, 64, 64, *[32, 32] * 3]  # nine frames are fed in three


@torch.inference_mode()
def test_only_what_lies_within_reach_of_a_new_edge_sees_that_tiles_became_smaller(monkeypatch):
    codec = build_random("tiny", dtype=torch.float32).codec
    attention = codec.vae.decoder.mid_block.attentions[0].proj
    for parameter in attention.parameters():
        parameter.zero_()  # it sees the whole picture
    latents = torch.randn(5, 16, 2, 42, generator=torch.Generator().manual_seed(1))
    wide, smaller = VaeTiles(side=336), VaeTiles(side=176, overlap=16)
    whole = torch.stack(vae(codec, (16, 336), wide).decode(latents))
    afresh = torch.stack(vae(codec, (16, 336), smaller).decode(latents[3:]))
    short = ShortOfMemory(monkeypatch, codec, "decode_piece", failing=3)
    short.cuts, short.lower = Cuts(vae_tiles=wide), Cuts(vae_tiles=smaller)
    made = torch.stack(short.vae((16, 336)).decode(latents))
    assert short.widths == [42] * 4 + [22] * 4
    assert torch.equal(made[:9], whole[:9])
    for far in (slice(0, 176 - 138), slice(160 + 138, 336)):
        torch.testing.assert_close(made[..., far], whole[..., far], rtol=0, atol=1e-5)
    near = (made - whole)[9:].abs().mean()
    assert 0 < near < 0.02 * (afresh[1:] - whole[-4:]).abs().mean()


@torch.inference_mode()
def test_before_anything_is_made_smaller_tiles_begin_as_if_asked_for(monkeypatch, codec):
    latents = torch.randn(5, 16, 4, 10, generator=torch.Generator().manual_seed(1))
    expected = decode_tiled(codec, latents, (32, 80), VaeTiles(side=32, overlap=16))
    short = ShortOfMemory(monkeypatch, codec, "decode_piece", failing=2)
    made = torch.stack(short.vae((32, 80)).decode(latents))
    assert torch.equal(made, expected)
    assert short.widths == [6, 6, 6, *[4] * 5 * 4]  # two tiles of 48 pixels for 80, then four of 32


@torch.inference_mode()
def test_what_tiles_have_finished_is_not_made_again_when_they_become_smaller(monkeypatch, codec):
    latents = torch.randn(5, 16, 4, 10, generator=torch.Generator().manual_seed(1))
    tiles = VaeTiles(side=48, overlap=16)
    undisturbed = decode_tiled(codec, latents, (32, 80), tiles)
    short = ShortOfMemory(monkeypatch, codec, "decode_piece", failing=9)
    short.cuts = Cuts(vae_tiles=tiles)
    made = torch.stack(short.vae((32, 80)).decode(latents))
    # The first tile, the second one's first clip, the call that failed, its second clip in two.
    assert short.widths == [6] * 5 + [6] * 3 + [6, 6] + [4, 4] * 2
    assert torch.equal(made[:9], undisturbed[:9])
    assert torch.equal(made[..., :32], undisturbed[..., :32])
    assert not torch.equal(made[9:], undisturbed[9:])
