"""Folders load strictly or not at all."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffst.checkpoint import NANO_FOLDER, load_pipeline, new_nano, num_parameters, weights_hash
from tests.diffst.tiny import tiny_pipeline


@pytest.fixture
def folder(tmp_path):
    tiny_pipeline().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_saved_folder_loads_with_every_weight(folder):
    loaded, saved = load_pipeline(folder), tiny_pipeline()
    for name in ("cfca", "vrg", "transformer", "codec"):
        theirs = getattr(saved, name).state_dict()
        for key, value in getattr(loaded, name).state_dict().items():
            assert torch.equal(value, theirs[key]), key


def test_a_folder_may_be_given_as_text_whatever_type_torch_makes_floats_in(folder):
    expected = load_pipeline(folder)
    torch.set_default_dtype(torch.float64)
    try:
        loaded = load_pipeline(str(folder))
    finally:
        torch.set_default_dtype(torch.float32)
    for name in ("cfca", "vrg", "transformer", "codec"):
        part, theirs = getattr(loaded, name), getattr(expected, name)
        values = [*part.named_parameters(), *part.named_buffers()]
        kept = dict([*theirs.named_parameters(), *theirs.named_buffers()])
        assert all(torch.equal(value, kept[key]) for key, value in values)
        assert {value.dtype for _, value in values} == {value.dtype for value in kept.values()}


def test_fresh_weights_follow_from_their_seed_and_leave_the_callers_random_numbers_alone():
    torch.manual_seed(5)
    next_numbers = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (new_nano(seed).codec.to_latents[-1].weight for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), next_numbers)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_weights_that_do_not_fit_are_refused(folder, change):
    path = folder / "codec" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    if change == "missing":
        del weights["head.bias"]
    elif change == "extra":
        weights["unknown"] = torch.zeros(1)
    else:
        weights["head.bias"] = torch.zeros(3)
    save_file(weights, path)
    with pytest.raises(ValueError, match="do not fit"):
        load_pipeline(folder)


def test_weights_that_were_cut_off_are_named(folder):
    path = folder / "codec" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"codec.diffusion_pytorch_model\.safetensors` is damaged"):
        load_pipeline(folder)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"weight_map": ["a.safetensors"]},
        {"weight_map": {}},
        {"weight_map": {"head.bias": 3, "head.weight": "a.safetensors"}},
        {"weight_map": {"head.bias": ["a.safetensors"]}},
        {"weight_map": {"head.bias": "../cfca/diffusion_pytorch_model.safetensors"}},
    ],
)
def test_an_index_that_names_no_files_is_named(folder, said):
    index = folder / "codec" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps(said))
    with pytest.raises(ValueError, match=r"index\.json` is damaged: its `weight_map` does not"):
        load_pipeline(folder)


@pytest.mark.parametrize(
    ("name", "content"), [("model_index.json", b"[]"), ("codec/config.json", b"")]
)
def test_a_configuration_that_is_none_is_named(folder, name, content):
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}` is damaged"):
        load_pipeline(folder)


@pytest.mark.parametrize(
    ("name", "changed", "sentence"),
    [
        ("model_index.json", {"codec": None}, "does not say what its `codec` is"),
        ("model_index.json", {"vrg": ["diffst"]}, "does not say what its `vrg` is"),
        ("model_index.json", {"_class_name": ["DiffSTPipeline"]}, "not a `DiffSTPipeline`"),
        ("model_index.json", {"codec": [None, None]}, "does not describe a `DiffSTPipeline`"),
        ("model_index.json", {"window_latents": 0}, r"index.json` .*`window_latents` is a whole n"),
        ("model_index.json", {"timestep": "399"}, "`timestep` is a number in 0..1000, not '399'"),
        ("model_index.json", {"sigma": None}, "`sigma` is a number, not None"),
        ("codec/config.json", {"channels": "many"}, "does not describe a `NanoCodec`"),
        ("codec/config.json", {"channels": -1}, "does not describe a `NanoCodec`"),
    ],
)
def test_a_configuration_that_says_what_cannot_be_is_named(folder, name, changed, sentence):
    said = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(said | changed))
    with pytest.raises(ValueError, match=sentence):
        load_pipeline(folder)


def test_a_folder_without_a_pipeline_is_refused(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match="no `model_index"):
        load_pipeline(tmp_path)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": "WanPipeline"}))
    with pytest.raises(ValueError, match="holds a `WanPipeline`"):
        load_pipeline(folder)


def test_the_hash_changes_with_any_weight(folder):
    before = weights_hash(folder)
    assert before == weights_hash(folder)
    path = folder / "cfca" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights["outer_prior"] += 1
    save_file(weights, path)
    assert weights_hash(folder) != before


def test_parameters_are_counted_from_the_files(folder):
    pipeline = tiny_pipeline()
    parts = (pipeline.cfca, pipeline.vrg, pipeline.transformer, pipeline.codec)
    assert num_parameters(folder) == sum(p.numel() for part in parts for p in part.parameters())


def test_nano_is_in_the_package_and_small():
    assert load_pipeline(NANO_FOLDER).config.window_latents == 1
    files = [path for path in NANO_FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 20e6
    assert {path.suffix for path in files} == {".json", ".safetensors", ".md"}
