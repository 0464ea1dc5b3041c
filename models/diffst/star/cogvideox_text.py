"""What the CogVideoX-based STAR is told in words, by the T5 encoder of CogVideoX, through transformers; optional."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

ENCODER_FOLDER, TOKENIZER_FOLDER = "text_encoder", "tokenizer"
NEEDED = "a prompt needs more: `pip install transformers sentencepiece protobuf`"


def prompt_states(folder: Path, prompt: str, num_tokens: int) -> Tensor | None:
    """States of a prompt from the folder's text encoder, which is freed at once.

    Args:
        folder: Of the model.
        prompt: What the video shows; empty for no prompt, which needs no text encoder.
        num_tokens: The length it is cut or filled up to.

    Returns:
        (1, num_tokens, D) float32; None for no prompt.

    Raises:
        ValueError: There is no text encoder, or transformers is not installed.
    """
    if not prompt:
        return None
    for part in (ENCODER_FOLDER, TOKENIZER_FOLDER):
        if not (folder / part).is_dir():
            raise ValueError(f"`{folder}` has no `{part}`, so no prompt can be used")
    try:
        from transformers import AutoTokenizer, T5EncoderModel
    except ImportError as error:
        raise ValueError(NEEDED) from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder / TOKENIZER_FOLDER)
    except (ImportError, ValueError) as error:  # what it says where a package of these is missing
        raise ValueError(NEEDED) from error
    encoder = T5EncoderModel.from_pretrained(folder / ENCODER_FOLDER, dtype=torch.bfloat16)
    tokens = tokenizer(
        prompt,
        padding="max_length",
        max_length=num_tokens,
        truncation=True,
        return_tensors="pt",
    ).input_ids
    with torch.inference_mode():
        # Filled-up places count too: the network was taught without a mask.
        states: Tensor = encoder.eval()(tokens).last_hidden_state.float()
    return states
