"""`wan-1.3b` as the tool sees it: refused without trained weights, an ordinary model with them."""

import pytest
import torch

from diffst.upscaler import load_model
from diffst.wan import DiffSTWanPipeline, build_random
from diffst.wan.upscaler import WanUpscaler
from tests.diffst.test_cfca import smooth_clip


def test_the_name_alone_is_refused_with_what_to_do():
    with pytest.raises(ValueError, match=r"no trained DiffST weights.*use `nano`.*STAR.*folder"):
        load_model("wan-1.3b", device="cpu")


def test_a_folder_without_training_is_refused(tmp_path):
    build_random("tiny").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no trained DiffST weights"):
        load_model(str(tmp_path), device="cpu")


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_a_trained_folder_upscales(tmp_path, precision, dtype):
    parts = build_random("tiny", dtype=torch.float32).components
    DiffSTWanPipeline(**parts, trained=True).save_pretrained(tmp_path)
    model = load_model(str(tmp_path), device="cpu", precision=precision)
    assert isinstance(model, WanUpscaler)
    assert model.pipeline.codec.dtype == dtype
    assert model.pipeline.transformer.scale_shift_table.dtype == torch.float32
    assert model.rules.clip_keyframes > model.rules.overlap_keyframes
    clip = (smooth_clip(3) * 255).round().to(torch.uint8)
    made = model(clip, [(0, 0.0), (0, 0.5), (2, 0.0)], (50, 70))
    assert made.shape == (3, 3, 50, 70)
    assert made.dtype == torch.uint8
