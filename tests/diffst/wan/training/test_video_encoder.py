"""Training guidance that looks through V-JEPA 2: the resampler learns, the encoder stays as it was."""

import dataclasses

import pytest
import torch

from diffst.checkpoint import load_pipeline
from diffst.wan import DiffSTWanPipeline
from diffst.wan.encoded_guidance import EncodedGuidance
from diffst.wan.training import loop


def test_a_stage_trains_the_resampler_and_leaves_the_encoder(config, tmp_path):
    transformers = pytest.importorskip("transformers", reason="needs `pip install transformers`")
    torch.manual_seed(0)
    encoder = transformers.VJEPA2Model(
        transformers.VJEPA2Config(
            crop_size=32,
            hidden_size=24,
            num_attention_heads=2,
            num_hidden_layers=1,
            pred_hidden_size=24,
            pred_num_attention_heads=2,
            pred_num_hidden_layers=1,
        )
    )
    guidance = EncodedGuidance(encoder_dim=24, num_tokens=3, token_dim=16, channels=8, max_frames=4)
    parts = {**load_pipeline(config.start_from).components, "vrg": guidance}
    start = DiffSTWanPipeline(**{**parts, "video_encoder": encoder})
    start.save_pretrained(tmp_path / "seen")
    run = dataclasses.replace(config, start_from=tmp_path / "seen", steps=2, rate_factor=100)
    loop.WanTrainer(run, lambda _: None).run()
    made = load_pipeline(run.out / "last")
    assert made.config.trained
    was, now = encoder.state_dict(), made.video_encoder.state_dict()
    assert all(torch.equal(was[name], now[name]) for name in was)
    assert not any(parameter.requires_grad for parameter in made.video_encoder.parameters())
    changed = (made.vrg.out.weight - guidance.out.weight).abs().max()
    assert changed > 1e-6
