"""The laws against the figures that were counted on the modules themselves, on meta tensors (diffusers 0.42.1)."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from diffst.star.blocks import SLICE_TOKENS
from diffst.star.frames import padding_of
from diffst.star.windows import LAST_WINDOW_STRETCH
from diffst.wan.build import empty_tiny_decoder
from diffst.wan.sizes import SIZES
from diffst.wan.tiles import CLIP_LATENTS, num_frames
from diffst_cli import memory_laws as laws

# Output size: decoder, encoder, transformer with 17, 33, 65 and 121 frames, whole peak with 33 and 121; all in GB.
COUNTED = {
    (1280, 720): (9.5, 7.0, (0.9, 1.6, 3.0, 5.4), (13.0, 13.9)),
    (1920, 1088): (21.5, 16.0, (2.0, 3.6, 6.8, 12.3), (25.4, 27.6)),
    (2560, 1440): (38.0, 28.2, (3.5, 6.3, 11.9, 21.7), (42.5, 46.4)),
    (3840, 2160): (85.4, 63.4, (7.9, 14.2, 26.8, 48.9), (91.8, 100.6)),
}
# Operations of 33 frames in units of 10^12: encode, transformer, decode.
COUNTED_OPERATIONS = {
    (1280, 720): (156.5, 81.2 + 196.6, 261.8),
    (1920, 1088): (363, 184 + 1001, 602),
    (2560, 1440): (660.6, 324.3 + 3108, 1081.7),
    (3840, 2160): (1615, 729 + 15700, 2563),
}


@pytest.mark.parametrize("size", COUNTED)
def test_wan_memory_is_as_counted(size: tuple[int, int]):
    decode, encode, transformer, peaks = COUNTED[size]
    pixels = size[0] * size[1]
    assert laws.wan_decode_bytes(pixels) / 1e9 == pytest.approx(decode, abs=0.1)
    assert laws.wan_encode_bytes(pixels) / 1e9 == pytest.approx(encode, abs=0.1)
    for frames, counted in zip((17, 33, 65, 121), transformer, strict=True):
        taken = laws.wan_transformer_bytes(laws.wan_tokens(pixels, frames)) / 1e9
        assert taken == pytest.approx(counted, abs=0.1)
    for frames, counted in zip((33, 121), peaks, strict=True):
        # Counted with the whole clip on the device in bfloat16, going in and coming out.
        taken = laws.wan_decode_bytes(pixels) + 12 * pixels * frames
        assert (taken + laws.wan_weights_bytes()) / 1e9 == pytest.approx(counted, abs=0.2)


@pytest.mark.parametrize(
    ("side", "latents", "counted"),
    [(256, 1, 0.68), (256, 8, 3.1), (512, 1, 2.7), (512, 8, 12.4), (768, 1, 6.1), (1024, 1, 10.8)],
)
def test_wan_tiles_are_as_counted(side: int, latents: int, counted: float):
    assert laws.wan_decode_bytes(side**2, latents) / 1e9 == pytest.approx(counted, abs=0.1)


@pytest.mark.parametrize("size", COUNTED_OPERATIONS)
def test_wan_operations_are_as_counted(size: tuple[int, int]):
    found = laws.wan_operations(size[0] * size[1], 33)
    for stage, counted in zip(("encode", "dit", "decode"), COUNTED_OPERATIONS[size], strict=True):
        assert found[stage] / 1e12 == pytest.approx(counted, rel=0.005), stage


@torch.inference_mode()
def test_the_tiny_decoders_laws_are_what_torch_counts():
    decoder = empty_tiny_decoder(SIZES["1.3b"])
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        memory = decoder.new_memory()
        decoder(torch.empty(3, 16, 90, 160), memory)
    law = laws.wan_operations(720 * 1280, 9, decoder="tiny")["decode"]
    assert counter.get_total_flops() == pytest.approx(law, rel=0.005)
    kept = sum(frame.numel() for frame in memory if frame is not None)
    assert 2 * kept == pytest.approx(laws.TINY_MEMORY_BYTES * 720 * 1280, rel=0.02)
    # The largest moment: 64 channels of four frames, before and after the last activation.
    whole = laws.tiny_decode_bytes(1, 3) - laws.TINY_MEMORY_BYTES
    assert whole == pytest.approx(3 * 4 * 64 * 2 * 2 + 3 * 4 * 64 / 4 * 2, rel=0.1)


def test_wan_latents_hold_four_frames_after_the_first():
    assert [laws.wan_latents(frames) for frames in (1, 2, 5, 6, 33, 81)] == [1, 2, 2, 3, 9, 21]


@pytest.mark.parametrize(
    ("size", "padded"),
    [
        ((960, 540), (1280, 720)),
        ((1704, 960), (1728, 976)),
        ((1920, 1080), (1984, 1104)),
        ((2560, 1440), (2624, 1488)),
        ((3840, 2160), (3904, 2192)),
        ((1080, 1920), (1280, 1936)),
    ],
)
def test_star_pads_as_the_reference_does(size: tuple[int, int], padded: tuple[int, int]):
    assert laws.star_padded(*size) == padded


@pytest.mark.parametrize(
    ("size", "num_frames", "counted"), [((1280, 720), 8, 2.037), ((1728, 976), 32, 7.022)]
)
def test_star_law_is_what_was_counted(size: tuple[int, int], num_frames: int, counted: float):
    """Live tensors of the network in float16 without weights, on fake tensors, 20 November 2026, GB."""
    law = laws.star_network_bytes(size[0] * size[1], num_frames) / 1e9
    assert law == pytest.approx(counted, rel=0.01)


def test_star_vae_law_is_what_was_counted():
    """The same way, GB: three frames and one decoded in float16, and one encoded in float32."""
    pixels = 1280 * 720
    assert laws.star_vae_bytes(pixels, 3) / 1e9 == pytest.approx(5.663, rel=0.01)
    assert laws.star_vae_bytes(pixels, 1) / 1e9 == pytest.approx(max(1.888, 2.370), rel=0.01)


def test_nano_takes_as_much_for_any_picture_in_tiles_but_its_motion():
    small, large = (laws.nano_bytes(pixels, 512 * 512, "bf16") for pixels in (10**6, 8 * 10**6))
    assert small == 1900 * 512 * 512 + 136 * 10**6
    assert large - small == 136 * 7 * 10**6


def test_the_longest_clip_of_a_tile_is_the_first():
    assert num_frames(1 + CLIP_LATENTS) == laws.WAN_TILE_CLIP_FRAMES


@pytest.mark.parametrize(
    ("latents", "decoder", "expected"),
    [
        (1, "full", (4.98e3 + 5.31e3) + 3.39e3 + 2.92e3),  # the decoder works
        (8, "tiny", (0.17e3 + 8 * 1.15e3) + 0.14e3 + 2.92e3),
        (1, "tiny", 7.64e3 + 1.17e3 + 0.17e3),  # the encoder does, and the decoder remembers
    ],
)
def test_a_streamed_shot_takes_what_one_half_works_with_and_the_other_remembers(
    latents: int, decoder: str, expected: float
):
    assert laws.wan_streamed_bytes(1000, latents, decoder) == pytest.approx(1000 * expected)


@pytest.mark.parametrize(
    ("decoder", "output_pixels", "expected"),
    [
        ("full", 1000, 10.29e6),  # decoding
        ("tiny", 1000, 7.64e6),  # encoding
        ("tiny", 100_000, 2.92e6 + 9.6e6),  # enlarging pictures, while the encoder remembers
    ],
)
def test_a_tile_takes_what_the_largest_of_its_stages_does(
    decoder: str, output_pixels: int, expected: float
):
    assert laws.wan_tiled_bytes(1000, 1, decoder, output_pixels) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("output_pixels", "bytes_per_sample", "expected"),
    [
        (1000, 1, 12 * 1000 + 500),  # the input in float32
        (16_000, 1, 6 * 16_000 + 8000),  # pictures in twice their depth
        (16_000, 2, 12 * 16_000 + 8000),
    ],
)
def test_a_shot_in_tiles_takes_its_frames_or_its_pictures_whichever_are_larger(
    output_pixels: int, bytes_per_sample: int, expected: int
):
    assert laws.wan_shot_bytes(1000, output_pixels, 10, bytes_per_sample) == 10 * expected


def test_star_pads_as_its_model_does():
    for width in range(600, 4200, 61):
        for height in (480, 719, 720, 721, 784, 785, *range(800, 2400, 59)):
            padding = padding_of((height, width))
            wide, high = laws.star_padded(width, height)
            assert wide == padding.left + width + padding.right
            assert high == padding.top + height + padding.bottom


def test_stars_windows_and_slices_are_as_long_as_its_model_makes_them():
    assert laws.STAR_LONGEST_WINDOW == LAST_WINDOW_STRETCH
    assert laws.STAR_SLICE_TOKENS == SLICE_TOKENS
