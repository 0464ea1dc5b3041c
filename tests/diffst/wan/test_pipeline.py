"""The whole journey of a clip at Wan's kind of size, on tiny configurations of the same classes."""

import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel

from diffst.flow import neighbour_flows
from diffst.pipeline import stage_clock
from diffst.wan import DiffSTWanPipeline, build_random
from diffst.wan.cuts import Cuts, VaeTiles
from diffst.wan.windows import Windows
from tests.diffst.test_cfca import smooth_clip

SIZE = (48, 64)
INSTANTS = [(0, 0.0), (0, 0.5), (1, 0.0), (1, 0.5), (2, 0.0), (2, 0.5), (3, 0.0)]


@pytest.fixture(scope="module")
def pipeline() -> DiffSTWanPipeline:
    return build_random("tiny", dtype=torch.float32)


def silent_transformer(pipeline: DiffSTWanPipeline) -> DiffSTWanPipeline:
    torch.nn.init.zeros_(pipeline.transformer.proj_out.weight)
    torch.nn.init.zeros_(pipeline.transformer.proj_out.bias)
    return pipeline


def test_every_asked_instant_comes_at_the_asked_size_and_in_range(pipeline):
    made = pipeline(smooth_clip(4), INSTANTS, (35, 51))
    assert made.shape == (7, 3, 35, 51)
    assert made.dtype == torch.float32
    assert 0 <= made.min() < made.max() <= 1
    codes = pipeline(smooth_clip(4), INSTANTS, (35, 51), output_type=torch.uint8)
    assert torch.equal(codes, (made * 255).round().to(torch.uint8))


def test_a_clip_after_another_is_for_a_shot_to_make(pipeline):
    with pytest.raises(NotImplementedError, match="goes on within a `shot`"):
        pipeline.next_clip(torch.zeros(2, 3, 16, 16), [(0, 0.0)], (64, 64), None)


def test_the_same_input_gives_the_same_bits(pipeline):
    clip = smooth_clip(4)
    assert torch.equal(pipeline(clip, INSTANTS, SIZE), pipeline(clip, INSTANTS, SIZE))


@torch.inference_mode()
def test_a_silent_transformer_gives_the_codecs_round_trip():
    pipeline = silent_transformer(build_random("tiny", dtype=torch.float32))
    clip = smooth_clip(4)
    aggregated = pipeline.cfca(clip, neighbour_flows(clip), INSTANTS)
    encoded = pipeline.codec.encode(aggregated, aggregated, SIZE)
    expected = pipeline.codec.decode(encoded.latents, encoded).clamp(0, 1)
    torch.testing.assert_close(pipeline(clip, INSTANTS, SIZE), expected, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_the_step_is_the_rectified_flow_step(pipeline):
    latents = torch.randn(3, 16, 6, 8, generator=torch.Generator().manual_seed(0))
    guidance = torch.randn(1, 3, 16, generator=torch.Generator().manual_seed(1))
    velocity = pipeline.transformer(
        hidden_states=latents.transpose(0, 1)[None],
        timestep=torch.tensor([399.0]),
        encoder_hidden_states=guidance,
    ).sample[0]
    expected = latents - 0.399 * velocity.transpose(0, 1)
    torch.testing.assert_close(pipeline.window(latents, guidance), expected)
    assert velocity.abs().max() > 0.1


def test_zero_guidance_is_the_null_path(pipeline):
    clip = smooth_clip(4)
    silent, without = (build_random("tiny", dtype=torch.float32) for _ in range(2))
    torch.nn.init.zeros_(silent.vrg.out.weight)
    without.register_modules(vrg=None)
    null = without(clip, INSTANTS, SIZE)
    torch.testing.assert_close(silent(clip, INSTANTS, SIZE), null, rtol=0, atol=1e-6)
    assert (pipeline(clip, INSTANTS, SIZE) - null).abs().max() > 1e-4


@torch.inference_mode()
def test_any_number_of_zero_rows_is_one_zero_row(pipeline):
    latents = torch.randn(2, 16, 4, 4, generator=torch.Generator().manual_seed(0))
    one, padded = (pipeline.window(latents, torch.zeros(1, rows, 16)) for rows in (1, 512))
    torch.testing.assert_close(one, padded, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_a_shot_in_pieces_is_the_whole_shot():
    pipeline = build_random("tiny", dtype=torch.float32)
    pipeline.cuts = Cuts(windows=Windows(latents=4, overlap_latents=2))
    frames = torch.rand(30, 3, 12, 16, generator=torch.Generator().manual_seed(0))
    guidance = torch.randn(1, 3, 16, generator=torch.Generator().manual_seed(1))
    stage = stage_clock(None, frames.device)

    def run(pieces: list[int]) -> torch.Tensor:
        stream = pipeline.stream(SIZE, guidance, stage)
        made = [frame for piece in frames.split(pieces) for frame in stream.feed(piece)]
        return torch.cat([*made, *stream.finish()])

    whole = run([30])
    assert whole.shape == (30, 3, *SIZE)
    for pieces in ([7, 9, 14], [1] * 30):
        assert torch.equal(run(pieces), whole)


@torch.inference_mode()
def test_a_long_shot_gives_frames_before_it_ends():
    pipeline = build_random("tiny", dtype=torch.float32)
    pipeline.cuts = Cuts(windows=Windows(latents=3, overlap_latents=1))
    stream = pipeline.stream(SIZE, torch.zeros(1, 1, 16), stage_clock(None, torch.device("cpu")))
    given = torch.rand(13, 3, 12, 16)
    assert sum(map(len, stream.feed(given))) == 5  # the window's third latent waits for the next
    assert sum(map(len, stream.finish())) == 8


def test_large_pictures_go_through_windows_in_space(monkeypatch):
    pipeline = build_random("tiny", dtype=torch.float32)
    pipeline.cuts = Cuts(windows=Windows(tokens=(2, 3), overlap_tokens=1))
    seen = []
    forward = WanTransformer3DModel.forward

    def watched(self, hidden_states, **others):
        seen.append(tuple(hidden_states.shape[-2:]))
        return forward(self, hidden_states, **others)

    monkeypatch.setattr(WanTransformer3DModel, "forward", watched)
    made = pipeline(smooth_clip(2), [(0, 0.0)], SIZE)
    assert made.shape == (1, 3, *SIZE)
    assert seen == [(4, 6)] * 4  # 3 x 4 tokens in windows of 2 x 3


def test_large_pictures_go_through_the_vae_in_tiles(monkeypatch):
    pipeline = build_random("tiny", dtype=torch.float32)
    clip = smooth_clip(4)
    whole = pipeline(clip, INSTANTS, (48, 70))
    pipeline.cuts = Cuts(vae_tiles=VaeTiles(side=80, overlap=16))
    torch.testing.assert_close(pipeline(clip, INSTANTS, (48, 70)), whole, rtol=0, atol=0)
    pipeline.cuts = Cuts(vae_tiles=VaeTiles(side=32, overlap=16))
    seen: dict[str, float] = {}
    tiled = pipeline(clip, INSTANTS, (48, 70), on_stage=seen.__setitem__)
    assert set(seen) == {"cfca", "vrg", "encode", "dit", "decode"}
    assert tiled.shape == whole.shape
    assert (tiled - whole).abs().mean() > 0.01  # tiles are not exact


def test_stages_report_their_time(pipeline):
    seen: dict[str, float] = {}
    pipeline(smooth_clip(2), [(0, 0.5)], SIZE, on_stage=seen.__setitem__)
    assert set(seen) == {"cfca", "vrg", "encode", "dit", "decode"}


@pytest.mark.parametrize("part", ["the transformer", "all of it"])
def test_a_plain_cast_is_refused(part):
    pipeline = build_random("tiny", dtype=torch.float32)
    if part == "all of it":
        pipeline.to(torch.bfloat16)
    else:
        torch.nn.Module.to(pipeline.transformer, dtype=torch.bfloat16)
    with pytest.raises(ValueError, match=r"modulation is torch\.bfloat16"):
        pipeline(smooth_clip(1), [(0, 0.0)], SIZE)


def test_short_types_come_near_the_long_ones():
    clip = smooth_clip(2)
    exact, short = (
        build_random("tiny", dtype=dtype)(clip, [(0, 0.0), (0, 0.5)], SIZE)
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert exact.shape == short.shape
    assert short.isfinite().all()


def test_an_image_to_video_transformer_is_refused(pipeline):
    other = WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        text_dim=16,
        freq_dim=16,
        ffn_dim=16,
        num_layers=1,
        image_dim=8,
        added_kv_proj_dim=24,
    )
    parts = {**pipeline.components, "transformer": other}
    with pytest.raises(ValueError, match="image-to-video"):
        DiffSTWanPipeline(**parts)


def test_a_transformer_for_other_latents_is_refused(pipeline):
    other = WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=36,
        text_dim=16,
        freq_dim=16,
        ffn_dim=16,
        num_layers=1,
    )
    with pytest.raises(ValueError, match="36 channels does not fit latents of 16"):
        DiffSTWanPipeline(**{**pipeline.components, "transformer": other})
