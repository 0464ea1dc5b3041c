"""The published file's names and shapes, mapped onto the network at its full size without its memory."""

import gzip
import json
import random
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from diffst.checkpoint import load_component
from diffst.star.cogvideox import StarCogVideoXTransformer
from diffst.star.cogvideox_keys import (
    NOT_NEEDED,
    PREFIX,
    SatState,
    convert_published,
    converted,
    empty_transformer,
    merged,
    read_sat_checkpoint,
    transformer_from_sat,
)
from tests.diffst.star.test_cogvideox import FIXTURES, sat_tensors


def full_size() -> dict[str, torch.Tensor]:
    """Every tensor of the published network, by name and shape, without content."""
    listed = json.loads(gzip.decompress((FIXTURES / "star_cogvideox_keys.json.gz").read_bytes()))
    with torch.device("meta"):
        return {name: torch.empty(shape) for name, shape in listed["keys"].items()}


def test_every_published_tensor_has_its_place_at_full_size():
    tensors = full_size()
    assert len(tensors) == 1195
    assert sum(tensor.numel() for tensor in tensors.values()) == 6_101_409_192
    # Another part of the same file.
    tensors["first_stage_model.encoder.weight"] = torch.empty(1, device="meta")
    state = SatState(tensors)
    transformer = empty_transformer(state)
    expected = {name: tensor.shape for name, tensor in transformer.state_dict().items()}
    made = {name: tensor.shape for name, tensor in converted(state)}
    assert made == expected
    lora = sum(tensor.numel() for name, tensor in tensors.items() if ".matrix_" in name)
    unused = sum(tensors[PREFIX + name].numel() for name in NOT_NEEDED)
    assert sum(p.numel() for p in transformer.parameters()) == 6_101_409_192 - lora - unused
    config = transformer.config
    assert (config.num_layers, config.num_attention_heads, config.attention_head_dim) == (
        42,
        48,
        64,
    )
    assert (config.in_channels, config.out_channels, config.text_embed_dim) == (32, 16, 4096)


def test_a_lora_is_merged_by_its_rank():
    weight, down, up = torch.randn(6, 5), torch.randn(2, 5), torch.randn(6, 2)
    expected = weight + sum(torch.outer(up[:, r], down[r]) for r in range(2)) / 2
    torch.testing.assert_close(merged(weight, down, up), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_come_in_the_type_asked_for(dtype):
    transformer = transformer_from_sat(sat_tensors(), dtype)
    assert {parameter.dtype for parameter in transformer.parameters()} == {dtype}


def test_a_missing_tensor_is_named():
    tensors = sat_tensors()
    name = f"{PREFIX}transformer.layers.1.temp_local.conv1.weight"
    del tensors[name]
    with pytest.raises(ValueError, match=f"lack `{name}`"):
        transformer_from_sat(tensors, torch.float32)


def test_a_tensor_without_a_place_is_named():
    tensors = sat_tensors() | {f"{PREFIX}extra": torch.zeros(1)}
    with pytest.raises(ValueError, match=f"hold `{PREFIX}extra`"):
        transformer_from_sat(tensors, torch.float32)


def test_a_tensor_of_another_shape_is_named():
    tensors = sat_tensors()
    tensors[f"{PREFIX}mixins.patch_embed.text_proj.bias"] = torch.zeros(3)
    with pytest.raises(ValueError, match="text_proj"):
        transformer_from_sat(tensors, torch.float32)


def test_a_file_is_read_as_it_is_published(tmp_path):
    path = tmp_path / "mp_rank_00_model_states.pt"
    torch.save({"module": sat_tensors(), "iteration": 1}, path)
    read = read_sat_checkpoint(path)
    assert all(torch.equal(read[name], tensor) for name, tensor in sat_tensors().items())


class OldArray:
    """Pickled as numpy 1 pickles an array."""

    def __init__(self, array):
        self.array = array

    def __reduce__(self):
        _, arguments, content = self.array.__reduce__()
        return (sys.modules["numpy.core.multiarray"]._reconstruct, arguments, content)


def test_the_state_of_a_training_run_beside_the_weights_does_no_harm(tmp_path, monkeypatch):
    path = tmp_path / "mp_rank_00_model_states.pt"
    draws = np.random.RandomState(0).get_state(legacy=False)

    def _reconstruct(*_):
        """Named as numpy 1 names its own."""

    _reconstruct.__module__, _reconstruct.__qualname__ = "numpy.core.multiarray", "_reconstruct"
    old = SimpleNamespace(_reconstruct=_reconstruct)
    state = {
        "np_rng_state": draws,
        "old_np_rng_state": OldArray(draws["state"]["key"]),
        "random_rng_state": random.Random(0).getstate(),
        "torch_rng_state": torch.get_rng_state(),
        "param_shapes": {"a": torch.Size([2])},
        "optimizer": None,
    }
    with monkeypatch.context() as numpy_1:
        numpy_1.setitem(sys.modules, "numpy.core.multiarray", old)
        torch.save({"module": sat_tensors(), **state}, path)
    assert read_sat_checkpoint(path).keys() == sat_tensors().keys()


def test_a_file_that_holds_more_than_tensors_is_refused(tmp_path):
    path = tmp_path / "states.pt"
    torch.save({"module": sat_tensors(), "code": SatState}, path)
    with pytest.raises(ValueError, match="is damaged, or holds more than weights"):
        read_sat_checkpoint(path)


@pytest.mark.parametrize("content", [{"weights": {}}, [1, 2]])
def test_a_file_of_another_form_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "states.pt")
    with pytest.raises(ValueError, match="has no `module`"):
        read_sat_checkpoint(tmp_path / "states.pt")


def test_a_published_file_becomes_a_folder_of_half_the_precision(tmp_path):
    torch.save({"module": sat_tensors()}, tmp_path / "mp_rank_00_model_states.pt")
    convert_published(tmp_path / "mp_rank_00_model_states.pt", tmp_path / "transformer")
    made = load_component(StarCogVideoXTransformer, tmp_path / "transformer", torch.bfloat16)
    expected = transformer_from_sat(sat_tensors(), torch.bfloat16).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in made.state_dict().items())


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(FileNotFoundError):
        convert_published(tmp_path / "none.pt", tmp_path / "transformer")


def test_the_full_network_takes_the_size_it_was_taught():
    transformer = empty_transformer(SatState(full_size()))
    with torch.device("meta"), torch.no_grad():
        latents = torch.empty(1, 7, 16, 60, 90)
        text = torch.empty(1, 226, 4096)
        assert transformer.predict(latents, latents, text, 999).shape == latents.shape
    config = transformer.config
    assert (config.sample_height, config.sample_width, config.max_text_seq_length) == (60, 90, 226)
