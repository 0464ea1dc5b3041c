"""The multi-step baseline is the stock pipeline's sampling."""

import pytest
import torch

from diffst.wan import build_random
from diffst.wan.multi_step import TEXT_ROWS, denoise, sample, stock_scheduler


def test_a_clip_of_the_asked_size_and_length():
    pipeline = build_random("tiny", dtype=torch.float32)
    seen: dict[str, float] = {}
    made = sample(pipeline, (24, 40), 4, 2, on_stage=seen.__setitem__)
    assert made.shape == (4, 3, 24, 40)
    assert made.dtype == torch.uint8
    assert seen.keys() == {"dit", "decode"}
    assert torch.equal(made, sample(pipeline, (24, 40), 4, 2))
    assert not torch.equal(made, sample(pipeline, (24, 40), 4, 3))


@torch.inference_mode()
def test_each_step_asks_with_the_prompt_and_without(monkeypatch):
    pipeline = build_random("tiny", dtype=torch.float32)
    asked: list[tuple[float, float]] = []
    forward = type(pipeline.transformer).forward

    def watched(self, hidden_states, timestep, encoder_hidden_states, **others):
        asked.append((float(timestep), float(encoder_hidden_states.mean())))
        return forward(self, hidden_states, timestep, encoder_hidden_states, **others)

    monkeypatch.setattr(type(pipeline.transformer), "forward", watched)
    texts = torch.stack([torch.full((TEXT_ROWS, 16), value) for value in (1.0, -1.0)])
    denoise(pipeline, torch.randn(1, 16, 1, 2, 2), texts, 3)
    scheduler = stock_scheduler()
    scheduler.set_timesteps(3)
    assert asked == [(float(t), sign) for t in scheduler.timesteps for sign in (1.0, -1.0)]
    # Flow sigmas with a shift of 3: t = 1000 * 3 s / (1 + 2 s), s from 0.999 down.
    assert scheduler.timesteps[0] == pytest.approx(999, abs=1)


@torch.inference_mode()
def test_it_is_the_stock_pipeline():
    pytest.importorskip(
        "transformers", reason="the stock pipeline needs `pip install transformers`"
    )
    from diffusers.pipelines.wan.pipeline_wan import WanPipeline

    pipeline = build_random("tiny", dtype=torch.float32)
    noise = torch.randn(1, 16, 2, 4, 6, generator=torch.Generator().manual_seed(0))
    texts = torch.randn(2, TEXT_ROWS, 16, generator=torch.Generator().manual_seed(1))
    stock = WanPipeline(
        tokenizer=None,
        text_encoder=None,
        vae=pipeline.codec.vae,
        scheduler=stock_scheduler(),
        transformer=pipeline.transformer,
    )
    stock.set_progress_bar_config(disable=True)
    expected = stock(
        prompt_embeds=texts[:1],
        negative_prompt_embeds=texts[1:],
        latents=noise,
        height=32,
        width=48,
        num_frames=5,
        num_inference_steps=4,
        output_type="latent",
    ).frames
    assert torch.equal(denoise(pipeline, noise, texts, 4), expected)
