"""A STAR model by name or folder, told how to sample; published files become a pipeline folder once."""

import json
import threading
import time

import pytest
import torch

from diffst.star.cogvideox_upscaler import StarCogVideoXModel
from diffst.star.load import Sampling, load_any_star, prepare
from diffst.star.text import save_states
from diffst.star.upscaler import StarModel
from tests.diffst.star.random_star import TEXT, save_random
from tests.diffst.star.tiny_cogvideox import tiny_pipeline

TOLD = Sampling(num_steps=3, guidance=2.0, seed=5)
INDEX: dict[str, object] = {"_class_name": "StarPipeline"}


def told(model):
    return model.settings.num_steps, model.settings.guidance, model.settings.seed


@pytest.mark.parametrize(
    ("save", "kind", "defaults"),
    [
        (save_random, StarModel, (None, 7.5, 666)),
        (
            lambda folder: tiny_pipeline().save_pretrained(folder),
            StarCogVideoXModel,
            (50, 6.0, 666),
        ),
    ],
)
def test_a_folder_is_loaded_by_its_kind_and_told_how_to_sample(save, kind, defaults, tmp_path):
    save(tmp_path)
    model = load_any_star(str(tmp_path), device="cpu", precision="fp32", sampling=TOLD)
    assert isinstance(model, kind)
    assert model.name == tmp_path.name
    assert told(model) == (3, 2.0, 5)
    plain = load_any_star(str(tmp_path), device="cpu", precision="fp32")
    assert told(plain) == defaults


def test_a_name_is_loaded_from_the_folder_of_downloaded_models(tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFST_MODELS", str(tmp_path))
    tiny_pipeline().save_pretrained(tmp_path / "star-cogvideox")
    model = load_any_star("star-cogvideox", device="cpu", precision="fp32")
    assert model.name == "star-cogvideox"


def test_a_prompt_reaches_the_text_encoder(tmp_path):
    tiny_pipeline().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no `text_encoder`"):
        load_any_star(str(tmp_path), device="cpu", sampling=Sampling(prompt="a cat"))


def test_a_model_trained_with_a_prompt_of_its_own_is_used_without_naming_it(tmp_path):
    save_random(tmp_path)
    states = torch.randn(2, *TEXT)
    save_states(tmp_path, "a bee", states)
    model = load_any_star(str(tmp_path), device="cpu", precision="fp32")
    assert isinstance(model, StarModel)
    assert model.text is not None
    assert torch.equal(model.text, states)


def test_a_setting_out_of_range_is_refused(tmp_path):
    tiny_pipeline().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="1001 steps"):
        load_any_star(str(tmp_path), device="cpu", sampling=Sampling(num_steps=1001))


@pytest.fixture
def published(tmp_path):
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "light_deg.pt").write_bytes(b"weights")
    return tmp_path


def test_published_files_are_converted_once(published):
    seen = []

    def convert(file, folder):
        seen.append(file.name)
        folder.mkdir()
        (folder / "config.json").write_text("{}")

    for _ in range(2):
        prepare(published, "unet", convert, INDEX)
    assert seen == ["light_deg.pt"]
    assert (published / "unet" / "config.json").is_file()
    assert json.loads((published / "model_index.json").read_text()) == INDEX
    assert not (published / "unet.unfinished").exists()


def test_of_several_who_ask_at_once_one_converts(published):
    seen = []
    started = threading.Event()

    def convert(file, folder):
        started.set()
        seen.append(file.name)
        time.sleep(0.2)
        folder.mkdir()

    first = threading.Thread(target=prepare, args=(published, "unet", convert, INDEX))
    first.start()
    started.wait()
    assert not (published / "model_index.json").exists()
    prepare(published, "unet", convert, INDEX)
    first.join()
    assert seen == ["light_deg.pt"]


def test_a_conversion_that_failed_is_done_again(published):
    def fail(_file, folder):
        folder.mkdir()
        raise ValueError("cut off")

    with pytest.raises(ValueError, match="cut off"):
        prepare(published, "unet", fail, INDEX)
    assert not (published / "model_index.json").exists()
    prepare(published, "unet", lambda _, folder: folder.mkdir(), INDEX)
    assert (published / "unet").is_dir()


def test_a_folder_of_nothing_is_told(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"neither `model_index.json` nor `published/\*.pt`"
    ):
        prepare(tmp_path, "unet", lambda *_: None, INDEX)


def test_how_windows_are_joined_is_told_to_those_that_have_some(tmp_path):
    save_random(tmp_path / "i2vgen")
    tiny_pipeline().save_pretrained(tmp_path / "cogvideox")
    cut = Sampling(windows="cut")
    model = load_any_star(str(tmp_path / "i2vgen"), device="cpu", sampling=cut)
    assert isinstance(model, StarModel)
    assert model.settings.windows == "cut"
    with pytest.raises(ValueError, match="sees clips as a whole, so there are no windows"):
        load_any_star(str(tmp_path / "cogvideox"), device="cpu", sampling=cut)
