"""The prompt of the CogVideoX-based STAR, with stand-ins for transformers' classes."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from diffst.star.cogvideox_text import prompt_states


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "text_encoder").mkdir()
    (tmp_path / "tokenizer").mkdir()
    return tmp_path


@pytest.fixture
def transformers(monkeypatch, folder):
    """Letters' numbers as tokens, and states that tell their tokens."""

    class Tokenizer:
        @classmethod
        def from_pretrained(cls, path):
            assert path == folder / "tokenizer"
            return cls()

        def __call__(self, text, *, padding, max_length, truncation, return_tensors):
            assert (padding, truncation, return_tensors) == ("max_length", True, "pt")
            numbers = [ord(letter) for letter in text][:max_length]
            filled = numbers + [0] * (max_length - len(numbers))
            return SimpleNamespace(input_ids=torch.tensor([filled]))

    class Encoder(torch.nn.Module):
        @classmethod
        def from_pretrained(cls, path, *, dtype):
            assert path == folder / "text_encoder"
            assert dtype == torch.bfloat16
            return cls()

        def forward(self, tokens):
            states = torch.stack((tokens, -tokens), dim=-1).bfloat16()
            return SimpleNamespace(last_hidden_state=states)

    module = ModuleType("transformers")
    module.AutoTokenizer = Tokenizer  # type: ignore[attr-defined]
    module.T5EncoderModel = Encoder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "transformers", module)


def test_a_prompt_is_filled_up_and_encoded(folder, transformers):
    states = prompt_states(folder, "ab", 4)
    assert states is not None
    assert states.dtype == torch.float32
    assert states.tolist() == [[[97, -97], [98, -98], [0, 0], [0, 0]]]


def test_no_prompt_needs_no_encoder(tmp_path):
    assert prompt_states(tmp_path, "", 4) is None


def test_a_missing_tokenizer_is_told(folder):
    (folder / "tokenizer").rmdir()
    with pytest.raises(ValueError, match="has no `tokenizer`, so no prompt can be used"):
        prompt_states(folder, "a", 4)


def test_transformers_that_are_not_installed_are_told(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match="a prompt needs more: `pip install transformers"):
        prompt_states(folder, "a", 4)


def test_a_tokenizer_that_lacks_a_package_is_told(folder, transformers, monkeypatch):
    def fail(_path):
        raise ValueError("`tiktoken` is required to read a `tiktoken` file")

    monkeypatch.setattr(sys.modules["transformers"].AutoTokenizer, "from_pretrained", fail)
    with pytest.raises(ValueError, match="sentencepiece protobuf"):
        prompt_states(folder, "a", 4)
