"""What a folder says it holds, and its files, told without loading anything."""

import json

import pytest

from diffst.folders import EMBEDDED, held_class, model_files


@pytest.mark.parametrize(
    "content", ["{}", "[]", "{", '{"_class_name": ["StarPipeline"]}', b"\xff\xfe", None]
)
def test_a_folder_that_says_nothing_holds_nothing_that_is_known(content, tmp_path):
    if content is not None:
        data = content if isinstance(content, bytes) else content.encode()
        (tmp_path / "model_index.json").write_bytes(data)
    assert held_class(tmp_path) is None


def test_a_folder_holds_the_class_that_it_names(tmp_path):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "AnyPipeline"}))
    assert held_class(tmp_path) == "AnyPipeline"
    assert held_class(EMBEDDED["nano"]) == "DiffSTPipeline"


def test_configuration_and_weights_are_a_models_files(tmp_path):
    (tmp_path / "unet").mkdir()
    names = ["unet/config.json", "unet/w.safetensors", "model_index.json"]
    for name in (*names, "unet/w.bin", "README.md"):
        (tmp_path / name).touch()
    assert model_files(tmp_path) == sorted(tmp_path / name for name in names)
