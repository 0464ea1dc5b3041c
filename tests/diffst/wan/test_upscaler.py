"""`wan-1.3b` as the tool sees it: refused without trained weights, an ordinary model with them."""

import pytest
import torch
from safetensors.torch import save_file

from diffst.limits import LimitedModel, Limits
from diffst.upscaler import load_model
from diffst.wan import DiffSTWanPipeline, build_random
from diffst.wan.build import random_tiny_decoder
from diffst.wan.cuts import Cuts, VaeTiles
from diffst.wan.fast_vae import Decoder
from diffst.wan.fold import FoldedTransformer
from diffst.wan.names import TINY_DECODER, TINY_DECODER_FILE
from diffst.wan.upscaler import WanUpscaler
from diffst.wan.windows import Windows
from tests.diffst.star.random_star import save_random
from tests.diffst.star.tiny_cogvideox import tiny_pipeline as tiny_cogvideox
from tests.diffst.test_cfca import smooth_clip


def test_the_name_alone_is_refused_with_what_to_do():
    with pytest.raises(
        ValueError, match=r"no trained DiffST weights.*use `nano`.*`star-light`.*folder"
    ):
        load_model("wan-1.3b", device="cpu")


def test_a_folder_without_training_is_refused(tmp_path):
    build_random("tiny").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no trained DiffST weights"):
        load_model(str(tmp_path), device="cpu")


@pytest.fixture
def model(tmp_path) -> WanUpscaler:
    parts = build_random("tiny", dtype=torch.float32).components
    pipeline = DiffSTWanPipeline(**parts, trained=True)
    return WanUpscaler("a folder", pipeline, torch.device("cpu"))


def test_a_loaded_model_has_the_exact_levers(model):
    assert isinstance(model.pipeline.transformer, FoldedTransformer)
    assert isinstance(model.pipeline.codec.vae.decoder, Decoder)


def test_limits_become_cuts(model):
    model.keep_within(Limits(tile=512, latents_per_call=4, window_frames=17, offload=True))
    assert model.pipeline.cuts == Cuts(
        windows=Windows(latents=5, overlap_latents=2),
        latents_per_call=4,
        vae_tiles=VaeTiles(side=512, overlap=64),
    )
    assert not model.offload.active  # there is nowhere to move parts from
    model.keep_within(Limits(window_frames=33))
    assert model.pipeline.cuts == Cuts()
    model.keep_within(Limits(window_frames=1))
    assert model.pipeline.cuts.windows == Windows(latents=1, overlap_latents=0)
    model.keep_within(Limits())
    assert model.pipeline.cuts.windows.latents == model.pipeline.config.window_latents


def test_the_tool_may_limit_it(model):
    assert isinstance(model, LimitedModel)


def test_limits_change_pictures_by_tiles_only_where_they_are_smaller(model):
    clip = (smooth_clip(3) * 255).round().to(torch.uint8)
    asked = (clip, [(0, 0.0), (0, 0.5), (2, 0.0)], (96, 96))
    whole = model(*asked)
    for limits in (Limits(tile=256), Limits(latents_per_call=2), Limits(offload=True)):
        model.keep_within(limits)
        made = model(*asked)
        assert (made.int() - whole.int()).abs().max() <= 1  # sums in another order


def test_parts_move_to_a_gpu_in_turn_while_asked_to(model, monkeypatch):
    asked = []
    monkeypatch.setattr(model.offload, "device", torch.device("cuda", 1))
    for name in ("enable_model_cpu_offload", "remove_all_hooks", "to"):
        monkeypatch.setattr(
            model.pipeline, name, lambda *_device, name=name, **_options: asked.append(name)
        )
    for offload in (False, True, True, False):
        model.keep_within(Limits(offload=offload))
    assert asked == ["enable_model_cpu_offload", "remove_all_hooks", "to"]


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_a_trained_folder_upscales(tmp_path, precision, dtype):
    parts = build_random("tiny", dtype=torch.float32).components
    DiffSTWanPipeline(**parts, trained=True).save_pretrained(tmp_path)
    model = load_model(str(tmp_path), device="cpu", precision=precision)
    assert isinstance(model, WanUpscaler)
    assert model.pipeline.codec.dtype == dtype
    assert model.pipeline.transformer.proj_out.weight.dtype == dtype
    assert model.pipeline.transformer.blocks[0].norm2.weight.dtype == torch.float32
    assert model.rules.clip_keyframes > model.rules.overlap_keyframes
    clip = (smooth_clip(3) * 255).round().to(torch.uint8)
    made = model(clip, [(0, 0.0), (0, 0.5), (2, 0.0)], (50, 70))
    assert made.shape == (3, 3, 50, 70)
    assert made.dtype == torch.uint8


def test_a_trained_folder_decodes_with_the_downloaded_tiny_decoder(tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFST_MODELS", str(tmp_path / "models"))
    parts = build_random("tiny", dtype=torch.float32).components
    DiffSTWanPipeline(**parts, trained=True).save_pretrained(tmp_path / "mine")
    with pytest.raises(FileNotFoundError, match=r"no such file.*taew2_1\.safetensors"):
        load_model(str(tmp_path / "mine"), device="cpu", decoder="tiny")
    place = tmp_path / "models" / TINY_DECODER / TINY_DECODER_FILE
    place.parent.mkdir(parents=True)
    save_file(random_tiny_decoder(dtype=torch.float16).state_dict(), place)
    tiny, full = (
        load_model(str(tmp_path / "mine"), device="cpu", precision="fp32", decoder=name)
        for name in ("tiny", "full")
    )
    clip = (smooth_clip(3) * 255).round().to(torch.uint8)
    made, other = (model(clip, [(0, 0.0), (1, 0.5)], (48, 64)) for model in (tiny, full))
    assert made.shape == other.shape
    assert (made.int() - other.int()).abs().float().mean() > 1


@pytest.mark.parametrize("kind", ["nano", "i2vgen", "cogvideox"])
def test_a_model_of_another_kind_has_one_decoder(tmp_path, kind):
    if kind == "i2vgen":
        save_random(tmp_path)
    elif kind == "cogvideox":
        tiny_cogvideox().save_pretrained(tmp_path)
    name = kind if kind == "nano" else str(tmp_path)
    with pytest.raises(ValueError, match="it has one decoder, and `tiny`"):
        load_model(name, device="cpu", decoder="tiny")


def test_a_decoder_that_there_is_not_is_refused(tmp_path):
    parts = build_random("tiny", dtype=torch.float32).components
    DiffSTWanPipeline(**parts, trained=True).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="decoder `nope` is not one of full, tiny"):
        load_model(str(tmp_path), device="cpu", decoder="nope")
