"""How a text encoder is opened, by a stand-in for transformers; tests with the real one are with each kind of STAR."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from diffst.star.text_encoder import open_text_encoder

STRICT = {"local_files_only": True, "trust_remote_code": False}


class Calls:
    """A class of transformers that says what it was asked for."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.options: dict[str, Any] = {}

    def from_pretrained(self, folder: Path, **options: Any) -> Any:
        self.options = options
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part in ("text_encoder", "tokenizer"):
        (tmp_path / part).mkdir()
    return tmp_path


def stand_in(monkeypatch: pytest.MonkeyPatch, encoder: Calls, tokenizer: Calls) -> None:
    quiet: Any = ModuleType("transformers.utils.logging")
    quiet.set_verbosity_error = quiet.disable_progress_bar = lambda: None
    utils: Any = ModuleType("transformers.utils")
    utils.logging = quiet
    whole: Any = ModuleType("transformers")
    whole.utils, whole.Encoder, whole.Tokenizer = utils, encoder, tokenizer
    for module in (whole, utils):
        monkeypatch.setitem(sys.modules, module.__name__, module)


def test_an_encoder_is_read_from_its_folder_alone_and_no_program_in_it_is_run(folder, monkeypatch):
    encoder = Calls((nn.Linear(1, 1), {"missing_keys": []}))
    tokenizer = Calls("words")
    stand_in(monkeypatch, encoder, tokenizer)
    opened, words = open_text_encoder(folder, "Encoder", "Tokenizer", torch.bfloat16)
    assert not opened.training
    assert words == "words"
    assert tokenizer.options == STRICT
    assert encoder.options == STRICT | {
        "use_safetensors": True,
        "dtype": torch.bfloat16,
        "output_loading_info": True,
    }


def test_an_encoder_that_is_a_pickle_is_told(folder, monkeypatch):
    # What transformers says of a folder without safetensors.
    stand_in(monkeypatch, Calls(OSError("no file named model.safetensors")), Calls("words"))
    with pytest.raises(
        ValueError, match=r"text_encoder` cannot be opened: no file named model\.saf"
    ):
        open_text_encoder(folder, "Encoder", "Tokenizer", torch.float32)
