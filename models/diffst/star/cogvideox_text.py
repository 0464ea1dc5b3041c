"""What the CogVideoX-based STAR is told in words, by the T5 encoder of CogVideoX, through transformers; optional."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from diffst.star.text_encoder import open_text_encoder


def prompt_states(folder: Path, prompt: str, num_tokens: int) -> Tensor | None:
    """States of a prompt from the folder's text encoder, which is freed at once.

    Args:
        folder: Of the model.
        prompt: What the video shows; empty for no prompt, which needs no text encoder.
        num_tokens: The length it is cut or filled up to.

    Returns:
        (1, num_tokens, D) float32; None for no prompt.

    Raises:
        ValueError: The text encoder cannot be opened.
    """
    if not prompt:
        return None
    encoder, tokenizer = open_text_encoder(
        folder, "T5EncoderModel", "AutoTokenizer", torch.bfloat16
    )
    tokens = tokenizer(
        prompt,
        padding="max_length",
        max_length=num_tokens,
        truncation=True,
        return_tensors="pt",
    ).input_ids
    with torch.no_grad():
        # Filled-up places count too: the network was taught without a mask.
        states: Tensor = encoder(tokens).last_hidden_state.float()
    return states
