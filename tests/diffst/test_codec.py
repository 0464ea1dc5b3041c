"""Nano's codec: sizes, the plain enlargement it starts from, the symmetry of its context."""

import pytest
import torch
import torch.nn.functional as F

from diffst.codec import STRIP_PIXELS, NanoCodec, arrange, enlarged_with, resize


def random_codec(seed: int = 0) -> NanoCodec:
    torch.manual_seed(seed)
    codec = NanoCodec(channels=8, coarse_channels=8, latent_channels=4, context_channels=4)
    for parameter in codec.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return codec.eval().requires_grad_(False)


def run(codec: NanoCodec, frames: torch.Tensor, context: torch.Tensor, size) -> torch.Tensor:
    encoded = codec.encode(frames, context, size)
    return codec.decode(encoded.latents, encoded)


def around(frames: torch.Tensor) -> torch.Tensor:
    return frames.unsqueeze(1).expand(-1, 4, -1, -1, -1)


def test_fresh_weights_give_the_bicubic_enlargement():
    frames = torch.rand(2, 3, 20, 28)
    for size in ((80, 112), (40, 57)):
        made = run(NanoCodec(), frames, around(frames), size)
        expected = F.interpolate(frames, size=size, mode="bicubic")
        torch.testing.assert_close(made, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(9, 7), (STRIP_PIXELS // 100, 101)])
def test_detail_is_added_to_torchs_bicubic_in_strips_that_do_not_show(factor, size):
    frames, detail = torch.rand(2, 3, *size), torch.rand(2, 3 * factor**2, *size).bfloat16()
    made = enlarged_with(detail, frames, factor)
    plain = F.interpolate(frames.double(), scale_factor=factor, mode="bicubic").float()
    torch.testing.assert_close(made, plain + F.pixel_shuffle(detail, factor), rtol=0, atol=1e-6)


def test_detail_learns_through_the_strips():
    frames = torch.rand(1, 3, 200, 101)
    detail = torch.zeros(1, 48, 200, 101, requires_grad=True)
    wanted = torch.rand(1, 3, 800, 404)
    (enlarged_with(detail, frames, 4) * wanted).sum().backward()
    assert detail.grad is not None
    assert torch.equal(detail.grad, F.pixel_unshuffle(wanted, 4))


def test_pixels_are_arranged_as_pixel_shuffle_does():
    pixels = torch.rand(2, 48, 5, 7).contiguous(memory_format=torch.channels_last)
    assert torch.equal(arrange(pixels, 4), F.pixel_shuffle(pixels, 4))


@pytest.mark.parametrize("size", [(80, 112), (40, 57)])
def test_whole_numbers_are_the_floats_clamped_and_rounded(size):
    codec, frames = random_codec(), torch.rand(1, 3, 20, 28)
    encoded = codec.encode(frames, around(frames), size)
    floats = codec.decode(encoded.latents, encoded)
    assert floats.min() < 0
    whole = codec.decode(encoded.latents, encoded, torch.uint8)
    assert torch.equal(whole, floats.clamp(0, 1).mul(255).round().to(torch.uint8))


@pytest.mark.parametrize("given", [(1, 1), (2, 3), (17, 33), (45, 80)])
@pytest.mark.parametrize("wanted", [(1, 1), (37, 53), (180, 320)])
def test_any_size_goes_to_any_size(given, wanted):
    frames = torch.rand(1, 3, *given)
    made = run(random_codec(), frames, around(frames), wanted)
    assert made.shape == (1, 3, *wanted)
    assert made.isfinite().all()


def test_latents_are_a_sixteenth_rounded_up():
    frames = torch.rand(1, 3, 33, 64)
    assert random_codec().encode(frames, around(frames), (132, 256)).latents.shape == (1, 4, 3, 4)


def test_left_and_right_context_may_be_swapped():
    codec = random_codec()
    frames, context = torch.rand(1, 3, 20, 28), torch.rand(1, 4, 3, 20, 28)
    made = run(codec, frames, context, (80, 112))
    assert torch.equal(made, run(codec, frames, context.flip(1), (80, 112)))


def test_context_matters_and_equal_context_adds_nothing():
    codec = random_codec()
    frames = torch.rand(1, 3, 20, 28)
    plain = codec.context(frames, around(frames))
    assert not plain.any()
    for side in range(4):
        context = around(frames).clone()
        context[:, side] += 0.1
        assert codec.context(frames, context).abs().max() > 1e-4


def test_the_decoder_listens_to_the_latents():
    codec = random_codec()
    frames = torch.rand(1, 3, 32, 32)
    encoded = codec.encode(frames, around(frames), (128, 128))
    made = codec.decode(encoded.latents, encoded)
    assert (codec.decode(encoded.latents + 1, encoded) - made).abs().max() > 1e-4


def test_shrinking_filters_before_it_samples():
    stripes = torch.tensor([0.0, 1.0]).repeat(32).view(1, 1, 1, 64).expand(1, 1, 64, 64)
    small = resize(stripes, (16, 16))[..., 2:-2]
    torch.testing.assert_close(small, torch.full_like(small, 0.5), rtol=0, atol=0.02)


@pytest.mark.parametrize(
    ("size", "share"),
    [
        ((10, 14), 0.35),
        ((20, 28), 0.35),
        ((30, 42), 0.35 + 0.65 / 3),
        ((40, 56), 0.35 + 0.65 * 2 / 3),
        ((50, 70), 1.0),
        ((60, 84), 1.0),
    ],
)
def test_less_detail_is_added_towards_the_inputs_own_size(size, share):
    codec, frames = random_codec(), torch.rand(1, 3, 20, 28)
    native = (80, 112)
    detail = run(codec, frames, around(frames), native) - resize(frames, native)
    made = run(codec, frames, around(frames), size) - resize(frames, size)
    torch.testing.assert_close(made, share * resize(detail, size), rtol=0, atol=1e-5)


def test_the_picture_keeps_its_precision_while_convolutions_run_in_a_short_type():
    frames, nothing = torch.rand(1, 3, 8, 8), torch.zeros(1, 48, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        made = enlarged_with(nothing, frames, 4)
    assert torch.equal(made, enlarged_with(nothing, frames, 4))
