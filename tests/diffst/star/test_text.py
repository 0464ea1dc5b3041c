"""Prompts: their words, their tokens, their states. What needs transformers runs where it is installed."""

import sys
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

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


def test_signs_that_openclip_reads_otherwise_are_brought_to_its_form():
    seen = []

    def tokenizer(sentence, **_):
        seen.append(sentence)
        return {"input_ids": [49406, 49407]}

    token_numbers(tokenizer, "Tom &amp;amp; Jerry: it’s “old”")
    assert seen == ['Tom & Jerry: it\'s "old"']


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


def test_a_folder_that_cannot_be_written_stops_nobody(tmp_path, monkeypatch):
    states = torch.randn(2, 3, 4)
    monkeypatch.setattr(text, "encode_prompts", lambda *_: states)
    # What safetensors says of any folder where it cannot make a file.
    assert torch.equal(prompt_states(tmp_path / "missing"), states)


def test_without_a_prompt_it_is_the_one_a_model_was_trained_with(tmp_path, monkeypatch):
    states = torch.randn(2, 3, 4)
    save_states(tmp_path, "a bee", states)
    assert torch.equal(prompt_states(tmp_path), states)
    monkeypatch.setattr(text, "encode_prompts", lambda *_: states + 1)
    assert torch.equal(prompt_states(tmp_path, DEFAULT_PROMPT), states + 1)
    assert torch.equal(prompt_states(tmp_path), states)


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
    # As the hub's config.json has it: these ids are not the vocabulary's, and only the pooled state would need them.
    ids = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
    config = transformers.CLIPConfig(
        text_config={**half, **ids, "num_hidden_layers": 24, "hidden_act": "gelu"},
        vision_config={**half, "num_hidden_layers": 1, "image_size": 32, "patch_size": 16},
    )
    torch.manual_seed(0)
    clip = transformers.CLIPModel(config).eval()
    clip.save_pretrained(tmp_path / "text_encoder")
    weights = load_file(tmp_path / "text_encoder" / "model.safetensors")
    positions = {"text_model.embeddings.position_ids": torch.arange(77)[None]}  # of older versions
    save_file(weights | positions, tmp_path / "text_encoder" / "model.safetensors")
    return tmp_path, weights


def test_tokens_are_open_clips(clip_folder):
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(clip_folder[0] / "tokenizer")
    for name, known in KNOWN.items():
        assert token_numbers(tokenizer, known["text"]) == known["ids_77"], name
        assert len(tokenizer(known["text"])["input_ids"]) == known["bpe_len_without_sot_eot"] + 2


def open_clip_states(weights, tokens):
    """The states after 23 of OpenCLIP's layers and its last norm, written out; (N, 77, D)."""

    def named(name):
        return {kind: weights[f"text_model.{name}.{kind}"] for kind in ("weight", "bias")}

    def norm(states, name):
        return F.layer_norm(states, states.shape[-1:], **named(name))

    states = weights["text_model.embeddings.token_embedding.weight"][tokens]
    states = states + weights["text_model.embeddings.position_embedding.weight"]
    for number in range(23):
        layer = f"encoder.layers.{number}"
        normed = norm(states, f"{layer}.layer_norm1")
        heads = [
            F.linear(normed, **named(f"{layer}.self_attn.{kind}_proj"))
            .unflatten(-1, (2, -1))
            .transpose(1, 2)
            for kind in "qkv"
        ]
        scores = heads[0] @ heads[1].transpose(-1, -2) / heads[0].shape[-1] ** 0.5
        ahead = torch.full((77, 77), -torch.inf).triu(1)  # padding is not masked
        seen = ((scores + ahead).softmax(-1) @ heads[2]).transpose(1, 2).flatten(2)
        states = states + F.linear(seen, **named(f"{layer}.self_attn.out_proj"))
        inner = F.linear(norm(states, f"{layer}.layer_norm2"), **named(f"{layer}.mlp.fc1"))
        states = states + F.linear(F.gelu(inner), **named(f"{layer}.mlp.fc2"))
    return norm(states, "final_layer_norm")


def test_states_are_those_of_openclips_last_but_one_layer_normalised(clip_folder):
    folder, weights = clip_folder
    tokens = [KNOWN[name]["ids_77"] for name in ("default_a_good_video+suffix", "negative")]
    known = open_clip_states(weights, torch.tensor(tokens))
    torch.testing.assert_close(prompt_states(folder), known, rtol=0, atol=1e-5)
