"""The tiny decoder has the published keys and shapes, computes what they mean, and streams exactly."""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from diffst.wan import build_random
from diffst.wan.build import empty_tiny_decoder, random_tiny_decoder
from diffst.wan.codec import WanCodec
from diffst.wan.convert import tiny_decoder_from
from diffst.wan.cuts import VaeTiles
from diffst.wan.levers import Levers, pull
from diffst.wan.sizes import SIZES
from diffst.wan.tiny_decoder import TinyDecoder, TinyStream
from diffst.wan.vae_stream import DecoderStream
from tests.diffst.wan.test_tiles import decode_tiled

# Of the published file: places in its sequence, and input and output channels there.
CONVOLUTIONS = {1: (16, 256), 8: (256, 128), 14: (128, 64), 20: (64, 64), 22: (64, 3)}
WITH_BIAS = (1, 22)
BLOCKS = {3: 256, 4: 256, 5: 256, 9: 128, 10: 128, 11: 128, 15: 64, 16: 64, 17: 64}
GROWTHS = {7: (256, 256), 13: (128, 256), 19: (64, 128)}
PUBLISHED_PARAMETERS = 11_315_539  # with its encoder


def published_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for place, (given, made) in CONVOLUTIONS.items():
        shapes[f"decoder.{place}.weight"] = (made, given, 3, 3)
        if place in WITH_BIAS:
            shapes[f"decoder.{place}.bias"] = (made,)
    for place, width in BLOCKS.items():
        for inside, given in ((0, 2 * width), (2, width), (4, width)):
            shapes[f"decoder.{place}.conv.{inside}.weight"] = (width, given, 3, 3)
            shapes[f"decoder.{place}.conv.{inside}.bias"] = (width,)
    for place, (given, made) in GROWTHS.items():
        shapes[f"decoder.{place}.conv.weight"] = (made, given, 1, 1)
    return shapes


def encoder_parameters() -> int:
    """Of the published encoder: 3 x (pooling, halving convolution, three blocks) of 64 channels."""
    block = (128 + 64 + 64) * 64 * 9 + 3 * 64
    pools = (128 + 128 + 64) * 64
    return (3 * 64 * 9 + 64) + pools + 3 * (64 * 64 * 9 + 3 * block) + (64 * 16 * 9 + 16)


def test_keys_and_shapes_are_the_published_ones():
    decoder = empty_tiny_decoder(SIZES["1.3b"])
    assert {key: tuple(value.shape) for key, value in decoder.state_dict().items()} == (
        published_shapes()
    )
    own = sum(parameter.numel() for parameter in decoder.parameters())
    assert own + encoder_parameters() == PUBLISHED_PARAMETERS


def latents(num: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, 16, num, 3, 4, generator=generator, dtype=torch.float64)


@pytest.fixture(scope="module")
def decoder() -> TinyDecoder:
    return random_tiny_decoder("tiny", dtype=torch.float64)


def by_hand(decoder: TinyDecoder, given: Tensor) -> Tensor:
    """Every frame in turn through functions alone, in the published order: (T, C, h, w) -> (4 T, 3, 8 h, 8 w)."""
    weights = decoder.state_dict()

    def conv(x: Tensor, key: str) -> Tensor:
        weight = weights[f"{key}.weight"]
        return F.conv2d(x, weight, weights.get(f"{key}.bias"), padding=weight.shape[-1] // 2)

    frames = [3 * torch.tanh(frame / 3) for frame in given.split(1)]
    frames = [conv(frame, "decoder.1").relu() for frame in frames]
    for place in range(3, 21):
        if place in BLOCKS:
            made, before = [], torch.zeros_like(frames[0])
            for frame in frames:
                x = torch.cat((frame, before), dim=1)
                for inside in (0, 2):
                    x = conv(x, f"decoder.{place}.conv.{inside}").relu()
                made.append((conv(x, f"decoder.{place}.conv.4") + frame).relu())
                before = frame
            frames = made
        elif place in GROWTHS:
            num = GROWTHS[place][1] // GROWTHS[place][0]
            frames = [
                part for f in frames for part in conv(f, f"decoder.{place}.conv").chunk(num, 1)
            ]
        elif place in CONVOLUTIONS:
            frames = [conv(frame, f"decoder.{place}") for frame in frames]
        else:
            frames = [f.repeat_interleave(2, -1).repeat_interleave(2, -2) for f in frames]
    return torch.cat([conv(frame.relu(), "decoder.22") for frame in frames])


def run(
    decoder: TinyDecoder, given: Tensor, pieces: list[int], latents_per_call: int = 1
) -> Tensor:
    stream = TinyStream(decoder, latents_per_call)
    with torch.inference_mode():
        made = [frame for piece in given.split(pieces, dim=2) for frame in stream.feed(piece)]
        return torch.cat([*made, *stream.finish()], dim=2)


@torch.inference_mode()
def test_it_computes_what_the_published_weights_mean(decoder):
    expected = by_hand(decoder, latents(3)[0].transpose(0, 1))
    assert expected.shape == (12, 3, 24, 32)
    made = decoder(latents(3)[0].transpose(0, 1), decoder.new_memory())
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-12)
    assert expected.std() > 0.01
    # The first latent is one frame of the video, its last.
    streamed = run(decoder, latents(3), [3])[0].transpose(0, 1)
    torch.testing.assert_close(streamed, expected[3:], rtol=0, atol=1e-12)


@pytest.mark.parametrize("latents_per_call", [1, 2])
def test_where_a_video_is_cut_changes_no_bit(decoder, latents_per_call):
    whole = run(decoder, latents(6), [6], latents_per_call)
    assert whole.shape == (1, 3, 21, 24, 32)
    for pieces in ([4, 2], [1] * 6, [1, 5]):
        assert torch.equal(run(decoder, latents(6), pieces, latents_per_call), whole)


def test_more_latents_a_call_give_the_same_to_rounding(decoder):
    torch.testing.assert_close(
        run(decoder, latents(6), [6], 4), run(decoder, latents(6), [6]), rtol=0, atol=1e-12
    )


def test_two_videos_in_turn_do_not_see_each_other(decoder):
    alone = [run(decoder, latents(3, seed), [3]) for seed in (1, 2)]
    streams = [TinyStream(decoder), TinyStream(decoder)]
    made: list[list[Tensor]] = [[], []]
    with torch.inference_mode():
        for start in range(3):
            for number, stream in enumerate(streams):
                made[number] += stream.feed(latents(3, number + 1)[:, :, start : start + 1])
    for number in (0, 1):
        assert torch.equal(torch.cat(made[number], dim=2), alone[number])


@torch.inference_mode()
def test_phases_and_layout_are_the_plain_one_to_rounding(decoder):
    pipeline = build_random("tiny", dtype=torch.float64)
    pipeline.codec.take_tiny_decoder(random_tiny_decoder("tiny", dtype=torch.float64))
    pull(pipeline, Levers(phase_convolutions=True, channels_last=True))
    fast = pipeline.codec.tiny_decoder
    assert fast is not None
    assert type(fast.decoder[8]).__name__ == "PhaseConv"
    torch.testing.assert_close(
        run(fast, latents(3), [3]), run(decoder, latents(3), [3]), rtol=0, atol=1e-12
    )


@pytest.fixture
def codec() -> WanCodec:
    codec = build_random("tiny", dtype=torch.float32).codec
    codec.take_tiny_decoder(random_tiny_decoder("tiny", dtype=torch.float64))
    return codec


@torch.inference_mode()
def test_the_codec_hands_it_normalised_latents_and_takes_its_range(codec):
    clip = torch.rand(5, 3, 9, 13, generator=torch.Generator().manual_seed(0))
    encoded = codec.encode(clip, clip, (20, 30))
    made = codec.decode(encoded.latents, encoded)
    assert codec.tiny_decoder.dtype == torch.float32
    frames = by_hand(codec.tiny_decoder, encoded.latents)[3:, :, :20, :30]
    assert made.shape == (5, 3, 20, 30)
    torch.testing.assert_close(made, frames, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_tiles_go_through_it_too(codec):
    given = torch.randn(2, 16, 8, 14, generator=torch.Generator().manual_seed(1))
    whole, tiled = (
        decode_tiled(codec, given, (64, 112), VaeTiles(side=side, overlap=16)) for side in (112, 64)
    )
    torch.testing.assert_close(whole, by_hand(codec.tiny_decoder, given)[3:], rtol=0, atol=1e-5)
    assert 0 < (tiled - whole).abs().mean() < 0.2 * whole.std()


def test_the_vaes_decoder_is_given_up_and_so_the_folder_cannot_be_saved(codec, tmp_path):
    assert not list(codec.vae.decoder.parameters())
    with pytest.raises(TypeError):
        DecoderStream(codec.vae).feed(latents(1))
    pipeline = build_random("tiny", dtype=torch.float32)
    pipeline.codec.take_tiny_decoder(random_tiny_decoder("tiny"))
    with pytest.raises(ValueError, match="codec was changed for speed and cannot be saved"):
        pipeline.save_pretrained(tmp_path)


def test_a_decoder_for_other_latents_is_refused():
    codec = build_random("tiny", dtype=torch.float32).codec
    with pytest.raises(ValueError, match="48 channels does not fit latents of 16"):
        codec.take_tiny_decoder(TinyDecoder(latent_channels=48, channels=(8, 4, 4, 4)))


def test_a_published_file_loads_strictly(tmp_path, decoder):
    held = {key: value.half() for key, value in decoder.state_dict().items()}
    path = tmp_path / "taew2_1.safetensors"
    save_file(held | {"encoder.0.weight": torch.zeros(64, 3, 3, 3)}, path)
    loaded = tiny_decoder_from(path, size=SIZES["tiny"])
    assert loaded.dtype == torch.float32
    assert all(torch.equal(loaded.state_dict()[key], held[key].float()) for key in held)
    save_file({**held, "decoder.23.weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"(?s)do not fit.*decoder\.23\.weight"):
        tiny_decoder_from(path, size=SIZES["tiny"])
    with pytest.raises(ValueError, match="do not fit its configuration"):
        tiny_decoder_from(path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        tiny_decoder_from(tmp_path / "other.safetensors")
