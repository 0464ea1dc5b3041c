"""The CogVideoX-based STAR as the tool gets it."""

import json

import pytest
import torch

from diffst.limits import LimitedModel, Limits
from diffst.star.cogvideox_pipeline import CogVideoXSettings
from diffst.star.cogvideox_upscaler import StarCogVideoXModel, load_star_cogvideox
from tests.diffst.star.tiny_cogvideox import tiny_pipeline

FEW = CogVideoXSettings(num_steps=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("star cog")
    tiny_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(folder) -> StarCogVideoXModel:
    return load_star_cogvideox(folder, device="cpu", precision="fp32", settings=FEW)


def keyframes(num_frames: int) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randint(256, (num_frames, 3, 16, 20), dtype=torch.uint8)


def test_a_folder_becomes_a_model_with_its_own_weights(model, folder):
    assert model.name == folder.name
    assert model.rules.clip_keyframes == 25
    saved, loaded = (
        pipeline.transformer.state_dict() for pipeline in (tiny_pipeline(), model.pipeline)
    )
    assert all(torch.equal(saved[name], loaded[name]) for name in saved)


def test_new_frames_come_from_cfca_before_they_are_enlarged(model):
    stages: list[str] = []
    made = model(
        keyframes(3),
        [(0, 0.0), (0, 0.5), (1, 0.0)],
        (32, 40),
        lambda name, _: stages.append(name),
    )
    assert made.shape == (3, 3, 32, 40)
    assert made.dtype == torch.uint8
    assert stages == ["cfca", "encode", "denoise", "decode"]


def test_limits_reach_the_vae_and_the_default_takes_them_back(model):
    vae = model.pipeline.vae
    is_told = isinstance(model, LimitedModel)
    assert is_told
    for limits, tile in ((Limits(tile=48), 48), (Limits(tile=512), 96), (Limits(), 96)):
        model.keep_within(limits)
        assert (vae.tile_sample_min_height, vae.tile_sample_min_width) == (tile, tile)


def test_a_short_type_stays_near(folder, model):
    short = load_star_cogvideox(folder, device="cpu", precision="bf16", settings=FEW)
    exact, near = (m(keyframes(1), [(0, 0.0)], (32, 40)).float() for m in (model, short))
    assert short.pipeline.transformer.dtype == torch.bfloat16
    assert (exact - near).abs().mean() < 3


def test_a_prompt_needs_the_text_encoder(folder):
    with pytest.raises(ValueError, match="has no `text_encoder`, so it cannot take this prompt"):
        load_star_cogvideox(folder, device="cpu", prompt="a cat")


def test_a_folder_of_something_else_is_refused(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no `model_index.json`"):
        load_star_cogvideox(tmp_path, device="cpu")
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "Other"}))
    with pytest.raises(ValueError, match="holds a `Other`, not a `StarCogVideoXPipeline`"):
        load_star_cogvideox(tmp_path, device="cpu")
