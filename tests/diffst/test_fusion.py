"""New frames out of finished keyframes: the CPU's strips against torch, and against shifts that indexing can do."""

import numpy as np
import pytest
import torch

from diffst import fusion
from diffst.cfca import Ways
from diffst.fusion import (
    fuse,
    fuse_into,
    fuse_tile_in_torch,
    grow,
    kernel_of,
    picture_made,
    picture_to_look_up,
    strips,
)
from diffst.tiling import tiles

KINDS = {torch.uint8: 255, torch.uint16: 65535, torch.float32: 1}


def pictures(kind: torch.dtype, height: int = 24, width: int = 32) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    values = torch.rand(6, 3, height, width, generator=generator) * KINDS[kind]
    return list(values.to(kind))


def ways(height: int = 6, width: int = 8, motion: float = 1.0) -> Ways:
    """Random ones for pictures about four times as large."""
    generator = torch.Generator().manual_seed(2)
    shares = torch.rand(1, 6, height, width, generator=generator)
    return Ways(
        keyframes=[tuple(range(6))],
        paths=motion * torch.randn(1, 6, 2, height, width, generator=generator),
        shares=shares / shares.sum(1, keepdim=True),
    )


def made(found: list[torch.Tensor], ways: Ways, longest: int | None = None) -> torch.Tensor:
    frame = torch.zeros_like(found[0])
    looked_up = [picture_to_look_up(picture) for picture in found]
    size = (frame.shape[1], frame.shape[2])
    low = (ways.shares.shape[2], ways.shares.shape[3])
    for tile in tiles(low, size, longest):
        window = (..., *tile.window)
        seen = Ways(keyframes=ways.keyframes, paths=ways.paths[window], shares=ways.shares[window])
        fuse_into(frame, looked_up, seen, tile)
    return frame


@pytest.mark.parametrize("kind", KINDS)
def test_keyframes_are_fetched_along_the_paths_and_mixed_by_share(kind):
    found = pictures(kind)
    paths = torch.zeros(1, 6, 2, 6, 8)
    paths[0, 0, 0], paths[0, 1, 1] = 0.25, -0.5  # a quarter of a low-resolution pixel is one pixel
    shares = torch.tensor([0.5, 0.25, 0, 0, 0.25, 0]).view(1, 6, 1, 1).expand(1, 6, 6, 8)
    frame = made(found, Ways(keyframes=[tuple(range(6))], paths=paths, shares=shares)).double()
    first, second, _, _, fifth, _ = (picture.double() for picture in found)
    right = torch.cat((first[..., 1:], first[..., -1:]), -1)
    above = torch.cat((second[:, :1], second[:, :1], second[:, :-2]), 1)
    expected = 0.5 * right + 0.25 * above + 0.25 * fifth
    assert (frame - expected).abs().max() <= (1e-6 if kind == torch.float32 else 0.5001)


@pytest.mark.parametrize("kind", KINDS)
def test_where_all_show_the_same_it_stays_to_the_bit(kind):
    picture = pictures(kind)[0]
    frame = made([picture] * 6, ways(motion=0.0))
    if kind == torch.float32:
        torch.testing.assert_close(frame, picture, rtol=0, atol=1e-6)
    else:
        assert torch.equal(frame, picture)


@pytest.mark.parametrize("size", [(48, 64), (24, 32), (12, 16), (31, 45), (7, 9)])
def test_a_cpu_makes_what_torch_makes(size):
    low = ways(12, 16, motion=2.0)
    smooth = torch.nn.functional.interpolate(torch.rand(6, 3, 4, 5), size=size, mode="bicubic")
    found = list(smooth.clamp(0, 1))
    torch.testing.assert_close(
        made(found, low), fuse(found, low.paths[0], low.shares[0]).clamp(0, 1), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("kind", KINDS)
def test_off_the_cpu_tiles_are_put_where_they_belong(kind):
    found, low = pictures(kind, 600, 720), ways(150, 180)
    frame = torch.zeros_like(found[0])
    for tile in tiles((150, 180), (600, 720), 128):
        window, place = (..., *tile.window), (tile.rows.made, tile.columns.made)
        seen = Ways(keyframes=low.keyframes, paths=low.paths[window], shares=low.shares[window])
        fuse_tile_in_torch(frame, found, seen, place, tile.owned)
    whole = fuse(found, low.paths[0], low.shares[0]).clamp(0, 1) * KINDS[kind]
    step = 1e-4 if kind == torch.float32 else 0.5 + 1e-4 * KINDS[kind]
    assert (frame.double() - whole.double()).abs().max() <= step


def test_it_has_gradients():
    found = [picture.requires_grad_() for picture in pictures(torch.float32)]
    low = ways()
    low.paths.requires_grad_()
    low.shares.requires_grad_()
    fuse(found, low.paths[0], low.shares[0]).sum().backward()
    for learnt in (found[0], low.paths, low.shares):
        assert learnt.grad is not None
        assert learnt.grad.abs().max() > 0


def test_strips_do_not_show(monkeypatch: pytest.MonkeyPatch):
    found = pictures(torch.uint8)
    whole = made(found, ways())
    monkeypatch.setattr(fusion, "STRIP_PIXELS", 3 * 32)
    assert torch.equal(made(found, ways()), whole)


def test_tiles_make_what_the_whole_picture_makes():
    found = pictures(torch.uint8, 600, 720)
    low = ways(150, 180)
    whole = made(found, low)
    assert len(list(tiles((150, 180), (600, 720), 128))) >= 4
    assert (made(found, low, 128).int() - whole.int()).abs().max() <= 1


def test_more_pixels_a_side_than_opencv_counts_are_looked_up_in_part(monkeypatch):
    found, low = pictures(torch.uint8), ways()
    whole = made(found, low)
    monkeypatch.setattr(fusion, "STRIP_PIXELS", 3 * 32)
    monkeypatch.setattr(fusion, "MOST_PIXELS", 31)
    edge = made(found, low)
    assert torch.equal(edge[..., :16], whole[..., :16])


@pytest.mark.parametrize("size", [(48, 64), (28, 37), (13, 15), (5, 9)])
def test_a_plane_grows_in_strips_as_it_does_whole(size: tuple[int, int]):
    plane = np.random.default_rng(6).random((12, 16)).astype(np.float32)
    whole = grow(plane, slice(0, 12), slice(0, size[0]), size[1])
    seen = 0
    for low, strip in strips(12, size[0], 5):
        part = grow(plane, low, strip, size[1])
        np.testing.assert_allclose(part, whole[strip], rtol=0, atol=1e-5)
        seen += strip.stop - strip.start
    assert seen == size[0]


@pytest.mark.parametrize("kind", [torch.uint8, torch.uint16])
def test_codes_are_mixed_as_torch_mixes_them(kind):
    smooth = torch.nn.functional.interpolate(torch.rand(6, 3, 4, 5), size=(48, 64), mode="bicubic")
    found = list((smooth.clamp(0, 1) * KINDS[kind]).round().to(kind))
    low = ways(12, 16)
    expected = fuse(found, low.paths[0], low.shares[0]) * KINDS[kind]
    # What is looked up and the mix are rounded to whole codes, half a code each; rounded shares, 1/510 off at most, add
    # to that what the six differ by.
    error = made(found, low).double() - expected
    assert error.abs().max() <= 1.5
    assert error.mean().abs() <= 0.05


def test_in_which_order_bytes_are_mixed_does_not_matter_to_the_bit():
    found, own = pictures(torch.uint8), ways()
    turned = [3, 2, 1, 0, 5, 4]  # as time turned round does
    other = Ways(keyframes=own.keyframes, paths=own.paths[:, turned], shares=own.shares[:, turned])
    assert torch.equal(made([found[way] for way in turned], other), made(found, own))


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_to_look_up_is_the_picture_and_its_full_scale(kind):
    picture = pictures(kind)[0]
    looked_up = picture_to_look_up(picture)
    assert looked_up.shape == (24, 32, 4)
    assert looked_up.dtype == kind
    assert torch.equal(picture_made(looked_up), picture)
    assert (looked_up[..., 3].double() == KINDS[kind]).all()


def test_only_pictures_enlarged_by_less_than_three_take_the_sharp_kernel():
    kernels = [kernel_of(ratio) for ratio in (1, 2, 2.9, 3, 4)]
    assert kernels == ["bicubic", "bicubic", "bicubic", "bilinear", "bilinear"]


@pytest.mark.parametrize("height", [24, 6])
def test_floats_stay_in_range_though_the_sharp_kernel_overshoots(height):
    checks = (torch.arange(height)[:, None] // 2 + torch.arange(32) // 2) % 2
    found = [checks.float().expand(3, -1, -1)] * 6
    own = ways(height, 32)
    frame = made(found, own)
    other = torch.zeros_like(frame)
    (tile,) = tiles((height, 32), (height, 32))
    fuse_tile_in_torch(other, found, own, (tile.rows.made, tile.columns.made), tile.owned)
    for mixed in (frame, other):
        assert [float(end) for end in mixed.aminmax()] == [0, 1]
