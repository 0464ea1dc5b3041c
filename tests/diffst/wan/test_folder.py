"""A pipeline folder of Wan's kind: what is written, how it loads, what cannot be saved."""

import json

import diffusers.pipelines
import pytest
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline

from diffst.checkpoint import load_pipeline
from diffst.wan import DiffSTWanPipeline, build_random
from tests.diffst.test_cfca import smooth_clip
from tests.diffst.wan.native import same

PARTS = ("cfca", "vrg", "transformer", "codec")
ASKED = ([(0, 0.0), (0, 0.5)], (32, 48))


@pytest.fixture(scope="module")
def pipeline() -> DiffSTWanPipeline:
    return build_random("tiny", dtype=torch.float32)


@pytest.fixture
def folder(pipeline, tmp_path):
    pipeline.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_the_folder_names_its_classes_and_constants(folder):
    index = json.loads((folder / "model_index.json").read_text())
    assert {name: value for name, value in index.items() if name != "_diffusers_version"} == {
        "_class_name": "DiffSTWanPipeline",
        "cfca": ["diffst.cfca", "CFCA"],
        "vrg": ["diffst.vrg", "VideoGuidance"],
        "transformer": ["diffusers", "WanTransformer3DModel"],
        "codec": ["diffst.wan.codec", "WanCodec"],
        "video_encoder": [None, None],
        "timestep": 399.0,
        "sigma": 0.399,
        "window_latents": 9,
        "trained": False,
    }
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} == {
        ".json",
        ".safetensors",
    }


def test_it_names_its_classes_beside_diffusers_own_pipeline_of_that_name(tmp_path, monkeypatch):
    # Which is there where `transformers` is installed.
    monkeypatch.setattr(diffusers.pipelines, "wan", object(), raising=False)
    build_random("tiny").save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["codec"] == ["diffst.wan.codec", "WanCodec"]


def test_it_loads_with_every_weight_by_either_way(folder, pipeline):
    theirs = DiffSTWanPipeline.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    for loaded in (load_pipeline(folder), theirs):
        assert type(loaded) is DiffSTWanPipeline
        for name in PARTS:
            assert same(
                loaded.components[name].state_dict(), pipeline.components[name].state_dict()
            )
        made = loaded(smooth_clip(2), *ASKED)
        torch.testing.assert_close(made, pipeline(smooth_clip(2), *ASKED))


def test_shards_load_too(pipeline, tmp_path):
    pipeline.save_pretrained(tmp_path, max_shard_size="40KB")
    assert len(list((tmp_path / "transformer").glob("*-of-*.safetensors"))) > 1
    loaded = load_pipeline(tmp_path)
    assert same(loaded.transformer.state_dict(), pipeline.transformer.state_dict())


def test_a_short_type_leaves_what_wan_keeps_long(folder):
    kinds = {"transformer": torch.bfloat16, "codec": torch.bfloat16, "default": torch.float32}
    theirs = DiffSTWanPipeline.from_pretrained(folder, local_files_only=True, dtype=kinds)
    for loaded in (load_pipeline(folder, dtype=torch.bfloat16), theirs):
        assert loaded.transformer.proj_out.weight.dtype == torch.bfloat16
        assert loaded.transformer.scale_shift_table.dtype == torch.float32
        assert loaded.transformer.blocks[0].norm2.weight.dtype == torch.float32
        assert loaded.codec.dtype == torch.bfloat16
        assert loaded.cfca.dtype == torch.float32
        assert loaded(smooth_clip(2), *ASKED).isfinite().all()


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_one_short_type_for_all_parts_comes_near_the_long_one(folder, pipeline, kind):
    short = DiffSTWanPipeline.from_pretrained(folder, local_files_only=True, dtype=kind)
    assert short.vrg.dtype == kind
    assert short.transformer.scale_shift_table.dtype == torch.float32
    made, exact = (piped(smooth_clip(2), *ASKED) for piped in (short, pipeline))
    assert made.dtype == torch.float32
    assert (made - exact).abs().mean() < 0.02


def test_guidance_is_optional(pipeline, tmp_path):
    parts = {**pipeline.components, "vrg": None}
    DiffSTWanPipeline(**parts).save_pretrained(tmp_path)
    assert load_pipeline(tmp_path).vrg is None


def test_constants_are_saved(pipeline, tmp_path):
    made = DiffSTWanPipeline(
        **pipeline.components, timestep=554.0, sigma=0.5, window_latents=5, trained=True
    )
    made.save_pretrained(tmp_path)
    config = load_pipeline(tmp_path).config
    assert (config.timestep, config.sigma, config.window_latents) == (554.0, 0.5, 5)
    assert config.trained is True


def test_fused_projections_are_saved_apart_and_stay_fused(tmp_path):
    pipeline = build_random("tiny", dtype=torch.float32)
    plain = pipeline(smooth_clip(2), *ASKED)
    pipeline.transformer.fuse_qkv_projections()
    assert "blocks.0.attn1.to_qkv.weight" in pipeline.transformer.state_dict()
    torch.testing.assert_close(pipeline(smooth_clip(2), *ASKED), plain, rtol=0, atol=1e-5)
    pipeline.save_pretrained(tmp_path)
    assert "blocks.0.attn1.to_qkv.weight" in pipeline.transformer.state_dict()
    torch.testing.assert_close(load_pipeline(tmp_path)(smooth_clip(2), *ASKED), plain)


def test_what_was_changed_for_speed_is_not_saved(tmp_path):
    pipeline = build_random("tiny", dtype=torch.float32)
    pipeline.transformer.blocks[0].extra = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match="the transformer was changed for speed"):
        pipeline.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_the_generic_class_of_diffusers_does_not_know_the_pipeline(folder):
    with pytest.raises(AttributeError, match="DiffSTWanPipeline"):
        DiffusionPipeline.from_pretrained(folder, local_files_only=True)
