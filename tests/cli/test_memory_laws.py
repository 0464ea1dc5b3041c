"""The laws against the figures that were counted on the modules themselves, on meta tensors (diffusers 0.42.1)."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

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
