"""The prompt of the CogVideoX-based STAR, by a tiny T5 of the real classes; runs where they are installed."""

import sys
from pathlib import Path

import pytest
import torch

from diffst.star.cogvideox_text import prompt_states

WORDS = "a video of the cat dog street light rain tree green red old house river sun"


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A folder with a T5 encoder, and a tokenizer that knows a few words."""
    needed = "needs `pip install 'diffst[star]'`"
    transformers = pytest.importorskip("transformers", reason=needed)
    sentencepiece = pytest.importorskip("sentencepiece", reason=needed)
    folder = tmp_path_factory.mktemp("model é")
    (folder / "tokenizer").mkdir()
    (folder / "words.txt").write_text("\n".join([WORDS] * 50))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "words.txt"),
        model_prefix=str(folder / "tokenizer" / "spiece"),
        vocab_size=25,
        bos_id=-1,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        minloglevel=2,
    )
    (folder / "tokenizer" / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "T5Tokenizer"}'
    )
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=200, d_model=12, d_kv=4, d_ff=16, num_layers=1, num_heads=2
    )
    encoder = transformers.T5EncoderModel(config)
    encoder.save_pretrained(folder / "text_encoder", max_shard_size="2KB")  # in several files
    return folder


@torch.inference_mode()
def test_a_prompt_is_filled_up_and_encoded(whole, capfd):
    from transformers import T5EncoderModel, T5Tokenizer

    states = prompt_states(whole, "a video of rain", 20)
    assert states is not None
    tokens = T5Tokenizer.from_pretrained(whole / "tokenizer")("a video of rain").input_ids
    assert tokens[-1] == 1  # the end, then filled up
    filled = torch.tensor([tokens + [0] * (20 - len(tokens))])
    encoder = T5EncoderModel.from_pretrained(whole / "text_encoder", dtype=torch.bfloat16)
    torch.testing.assert_close(states, encoder(filled).last_hidden_state.float())
    assert states.dtype == torch.float32


def test_a_long_prompt_loses_its_last_words(whole):
    states = prompt_states(whole, "a video of the rain " * 10, 6)
    assert states is not None
    assert states.shape == (1, 6, 12)


def test_nothing_is_said_but_what_diffst_says(whole, capfd):
    prompt_states(whole, "a cat", 4)
    assert capfd.readouterr() == ("", "")


def test_weights_that_are_missing_are_told(whole, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    (file, *_) = sorted((tmp_path / "text_encoder").glob("*.safetensors"))
    save_file(dict(list(load_file(file).items())[1:]), file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"text_encoder` lacks \d tensors, as"):
        prompt_states(tmp_path, "a cat", 4)


def test_a_package_of_the_tokenizer_that_is_missing_is_told(whole, monkeypatch):
    import transformers

    def fail(_path, **_options):
        raise ValueError("`tiktoken` is required to read a `tiktoken` file")

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", fail)
    with pytest.raises(
        ValueError, match=r"tokenizer` cannot be opened: `pip install 'diffst\[star"
    ):
        prompt_states(whole, "a", 4)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "text_encoder").mkdir()
    (tmp_path / "tokenizer").mkdir()
    return tmp_path


def test_no_prompt_needs_no_encoder(tmp_path):
    assert prompt_states(tmp_path, "", 4) is None


def test_a_missing_tokenizer_is_told(folder):
    (folder / "tokenizer").rmdir()
    with pytest.raises(ValueError, match="has no `tokenizer`, so it cannot take this prompt"):
        prompt_states(folder, "a", 4)


def test_transformers_that_are_not_installed_are_told(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r"packages that are not here: `pip install 'diffst\[star"):
        prompt_states(folder, "a", 4)
