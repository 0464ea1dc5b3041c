"""Which models sample, told without loading them."""

import json

import pytest

from diffst.folders import model_folder
from diffst.star.cogvideox_sampler import NUM_TIMESTEPS
from diffst.star.names import (
    COGVIDEOX_PIPELINE,
    MAX_STEPS,
    STAR_MODELS,
    UNET_PIPELINE,
    star_folder,
    star_pipeline,
)
from diffst.star.schedule import START_TIMESTEP


@pytest.mark.parametrize("name", list(STAR_MODELS))
def test_a_name_leads_to_the_folder_of_downloaded_models(name, monkeypatch, tmp_path):
    monkeypatch.setenv("DIFFST_MODELS", str(tmp_path))
    assert star_folder(name) == model_folder(name) == tmp_path / name
    assert star_pipeline(name) == STAR_MODELS[name]


@pytest.mark.parametrize("held", ["StarPipeline", "StarCogVideoXPipeline"])
def test_a_folder_tells_its_kind(held, tmp_path):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": held}))
    assert star_folder(str(tmp_path)) == tmp_path
    assert star_pipeline(str(tmp_path)) == held


@pytest.mark.parametrize("content", ['{"_class_name": "DiffSTPipeline"}', "{}", "[]", "{", None])
def test_other_folders_are_none(content, tmp_path):
    if content is not None:
        (tmp_path / "model_index.json").write_text(content)
    assert star_pipeline(str(tmp_path)) is None


def test_other_names_are_none():
    assert star_pipeline("nano") is None


def test_as_many_steps_can_be_asked_for_as_the_samplers_take():
    assert MAX_STEPS == {UNET_PIPELINE: START_TIMESTEP, COGVIDEOX_PIPELINE: NUM_TIMESTEPS}
