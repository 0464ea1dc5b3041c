"""Published files in, model folders out and in again, strictly."""

import json
import pickle

import pytest
import torch

from diffst.checkpoint import load_component
from diffst.star.checkpoint import convert_published, load_star_pipeline
from diffst.star.network import StarUNet
from tests.diffst.star.random_star import TINY_UNET, build_random, save_random
from tests.diffst.star.reference import tensors


@pytest.fixture(scope="module")
def weights():
    return tensors("star_tiny", "w/")


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_published_file_becomes_a_folder_of_half_the_size(tmp_path, weights, wrapped, caplog):
    content = {**weights, "VideoControlNet.hint_time_zero_linear.weight": torch.zeros(2)}
    torch.save({"state_dict": content} if wrapped else content, tmp_path / "light_deg.pt")
    convert_published(tmp_path / "light_deg.pt", tmp_path / "unet", config=TINY_UNET)
    assert "1 of them unused, as" in caplog.text
    state = load_component(StarUNet, tmp_path / "unet", torch.float16).state_dict()
    assert set(state) == set(weights)
    for key, value in state.items():
        assert value.dtype == torch.float16
        assert torch.equal(value, weights[key].half())


def test_a_file_that_lacks_a_tensor_is_refused(tmp_path, weights):
    part = {key: value for key, value in weights.items() if key != "out.2.bias"}
    torch.save(part, tmp_path / "light_deg.pt")
    with pytest.raises(ValueError, match=r"lacks 1 of STAR's 2247 tensors, as `out.2.bias`"):
        convert_published(tmp_path / "light_deg.pt", tmp_path / "unet", config=TINY_UNET)
    assert not (tmp_path / "unet").exists()


def test_a_tensor_of_another_shape_is_refused(tmp_path, weights):
    torch.save({**weights, "out.2.bias": torch.zeros(5)}, tmp_path / "light_deg.pt")
    with pytest.raises(ValueError, match=r"`out.2.bias` of shape \(5,\), not \(4,\)"):
        convert_published(tmp_path / "light_deg.pt", tmp_path / "unet", config=TINY_UNET)


class Bomb:
    def __reduce__(self):
        return (print, ("run!",))


def test_nothing_in_a_file_is_run(tmp_path, capsys):
    (tmp_path / "light_deg.pt").write_bytes(pickle.dumps({"state_dict": Bomb()}))
    with pytest.raises(ValueError, match="is damaged, or holds more than weights"):
        convert_published(tmp_path / "light_deg.pt", tmp_path / "unet", config=TINY_UNET)
    assert capsys.readouterr().out == ""


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(FileNotFoundError):
        convert_published(tmp_path / "light_deg.pt", tmp_path / "unet", config=TINY_UNET)


def test_a_saved_pipeline_is_the_same_when_loaded(tmp_path):
    pipeline = build_random(seed=3)
    pipeline.save_pretrained(tmp_path)
    loaded = load_star_pipeline(tmp_path)
    assert loaded.config.least_size == (80, 64)
    for part in ("unet", "vae"):
        state = getattr(loaded, part).state_dict()
        known = getattr(pipeline, part).state_dict()
        assert set(state) == set(known)
        assert all(torch.equal(state[key], known[key]) for key in known)


def test_a_folder_of_something_else_is_refused(tmp_path):
    save_random(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    (tmp_path / "model_index.json").write_text(json.dumps({**index, "_class_name": "Other"}))
    with pytest.raises(ValueError, match="holds a `Other`, not a `StarPipeline`"):
        load_star_pipeline(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no `model_index\.json`"):
        load_star_pipeline(tmp_path / "unet")
