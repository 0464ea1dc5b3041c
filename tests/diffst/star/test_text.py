"""Prompts: their words, their tokens, their states. What needs transformers runs where it is installed."""

import sys
from types import SimpleNamespace

import pytest
import torch

from diffst.star import text
from diffst.star.text import (
    DEFAULT_PROMPT,
    NEGATIVE_PROMPT,
    SUFFIX,
    prompt_states,
    save_states,
    text_states,
    token_numbers,
)
from tests.diffst.star.random_star import save_random
from tests.diffst.star.reference import FIXTURES, table

KNOWN = table("star_prompt_tokens")


def words(sentence):
    return " ".join(sentence.split())


def test_the_words_are_those_of_the_published_results():
    assert words(KNOWN["positive_suffix_only"]["text"]) == SUFFIX
    assert words(KNOWN["default_a_good_video+suffix"]["text"]) == DEFAULT_PROMPT + SUFFIX
    assert words(KNOWN["negative"]["text"]) == NEGATIVE_PROMPT


def test_short_texts_are_filled_up_with_zeros():
    def tokenizer(sentence, *, truncation, max_length):
        assert (sentence, truncation, max_length) == ("a cat", True, 77)
        return {"input_ids": [49406, 320, 2368, 49407]}

    assert token_numbers(tokenizer, "a cat") == [49406, 320, 2368, 49407] + [0] * 73


class Tower(torch.nn.Module):
    """Adds 1 at each layer, doubles at the end."""

    def __init__(self, num_layers):
        super().__init__()
        self.encoder = torch.nn.Module()
        layers = [torch.nn.Identity() for _ in range(num_layers)]
        self.encoder.layers = torch.nn.ModuleList(layers)

    def forward(self, input_ids):
        states = input_ids[..., None].float()
        for layer in self.encoder.layers:  # type: ignore[union-attr]
            states = layer(states) + 1
        return SimpleNamespace(last_hidden_state=2 * states)


def test_the_last_layer_is_left_out():
    states = text_states(Tower(24), torch.tensor([[5]]), 23)
    assert states.tolist() == [[[2.0 * (5 + 23)]]]


def test_an_encoder_with_too_few_layers_is_refused():
    with pytest.raises(ValueError, match="the text encoder has 12 layers, and 23 are used"):
        text_states(Tower(12), torch.tensor([[5]]), 23)


def test_states_in_the_folder_need_no_encoder(tmp_path):
    states = torch.randn(2, 3, 4)
    save_states(tmp_path, "a bee", states)
    assert torch.equal(prompt_states(tmp_path, "a bee"), states)
    with pytest.raises(ValueError, match="has no `text_encoder`, so it cannot take this prompt"):
        prompt_states(tmp_path, "a wasp")


def test_states_of_the_default_prompt_are_made_once(tmp_path, monkeypatch):
    made = []

    def encode(_folder, texts):
        made.append(texts)
        return torch.full((2, 3, 4), float(len(made)))

    monkeypatch.setattr(text, "encode_prompts", encode)
    first = prompt_states(tmp_path)
    assert torch.equal(prompt_states(tmp_path), first)
    assert made == [[DEFAULT_PROMPT + SUFFIX, NEGATIVE_PROMPT]]
    prompt_states(tmp_path, "a wasp")
    assert made[1:] == [["a wasp" + SUFFIX, NEGATIVE_PROMPT]]


def test_transformers_that_are_not_installed_are_told(tmp_path, monkeypatch):
    for part in ("text_encoder", "tokenizer"):
        (tmp_path / part).mkdir()
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        ValueError, match=r"packages that are not here: `pip install 'diffst\[star\]'`"
    ):
        prompt_states(tmp_path)


@pytest.fixture
def clip_folder(tmp_path):
    """A tiny CLIP, both halves, beside a vocabulary of the known texts' words."""
    transformers = pytest.importorskip("transformers", reason="needs `pip install 'diffst[star]'`")
    save_random(tmp_path)
    (tmp_path / "prompts.safetensors").unlink()
    (tmp_path / "tokenizer").symlink_to(FIXTURES / "clip_tokenizer")
    half = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={**half, "num_hidden_layers": 24, "bos_token_id": 49406, "eos_token_id": 49407},
        vision_config={**half, "num_hidden_layers": 1, "image_size": 32, "patch_size": 16},
    )
    torch.manual_seed(0)
    clip = transformers.CLIPModel(config).eval()
    clip.save_pretrained(tmp_path / "text_encoder")
    return tmp_path, clip


def test_tokens_are_open_clips(clip_folder):
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(clip_folder[0] / "tokenizer")
    for name, known in KNOWN.items():
        assert token_numbers(tokenizer, known["text"]) == known["ids_77"], name


def test_states_are_those_of_the_last_but_one_layer_normalised(clip_folder):
    folder, clip = clip_folder
    made = prompt_states(folder)
    tokens = [KNOWN[name]["ids_77"] for name in ("default_a_good_video+suffix", "negative")]
    with torch.inference_mode():
        every = clip.text_model(input_ids=torch.tensor(tokens), output_hidden_states=True)
        known = clip.text_model.final_layer_norm(every.hidden_states[-2])
    torch.testing.assert_close(made, known, rtol=0, atol=1e-5)
