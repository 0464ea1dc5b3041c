"""What STAR is told in words: the prompt, and what the result must not be.

The text encoder is the text tower of OpenCLIP ViT-H-14 (LAION-2B), through transformers. It is
needed only for a prompt whose states are not already in the model's folder, and freed at once.
"""

from __future__ import annotations

import html
import logging
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from diffst.star.text_encoder import open_text_encoder

log = logging.getLogger(__name__)

STATES_FILE = "prompts.safetensors"
NUM_TOKENS = 77
PAD_TOKEN = 0  # not the end token: padded places take part in the network's attention
NUM_LAYERS = (
    23  # of 24: the last but one layer's states, normalised, as the network was trained with
)
STRAIGHT_QUOTES = str.maketrans("‘’‚‛“”„‟", "''''\"\"\"\"")
DEFAULT_PROMPT = "a good video"
# The published results' words, which the weights answer to; runs of spaces do not matter.
SUFFIX = (
    "Cinematic, High Contrast, highly detailed, taken using a Canon EOS R camera, "
    "hyper detailed photo - realistic maximum detail, 32k, Color Grading, ultra HD, "
    "extreme meticulous detailing, skin pore detailing, hyper sharpness, perfect without deformations."
)
NEGATIVE_PROMPT = (
    "painting, oil painting, illustration, drawing, art, sketch, oil painting, cartoon, CG Style, "
    "3D render, unreal engine, blurring, dirty, messy, worst quality, low quality, frames, "
    "watermark, signature, jpeg artifacts, deformed, lowres, over-smooth"
)


def prompt_states(folder: Path, prompt: str | None = None) -> Tensor:
    """States of a prompt and of the negative prompt, from the folder's file or its text encoder.

    Those of the default prompt are kept in the file where there is none yet, so that the encoder runs once.

    Args:
        folder: Of the model.
        prompt: What the video shows; may be empty. None is the file's, which the model was trained with, or the
            default one where there is no file.

    Returns:
        (2, L, D) float32.

    Raises:
        ValueError: The prompt is another than the file's, and the text encoder cannot be opened.
    """
    file = folder / STATES_FILE
    if file.is_file():
        with safe_open(file, framework="pt") as states:
            if prompt in (None, (states.metadata() or {}).get("prompt")):
                both = (states.get_tensor("prompt"), states.get_tensor("negative"))
                return torch.stack(both).float()
    wanted = DEFAULT_PROMPT if prompt is None else prompt
    made = encode_prompts(folder, [wanted + SUFFIX, NEGATIVE_PROMPT])
    if wanted == DEFAULT_PROMPT and not file.is_file():
        keep_states(folder, wanted, made)
    return made


def keep_states(folder: Path, prompt: str, states: Tensor) -> None:
    """`save_states`, but a folder that cannot be written, as a shared one, only costs the next run its time."""
    try:
        save_states(folder, prompt, states)
    except (
        OSError,
        SafetensorError,
    ) as error:  # safetensors has a type of its own for what the system refuses
        log.info("the prompt's states cannot be kept: %s", error)


def save_states(folder: Path, prompt: str, states: Tensor) -> None:
    """Keep a prompt's states, (2, L, D), so that the text encoder is not needed for it again."""
    tensors = {"prompt": states[0].contiguous(), "negative": states[1].contiguous()}
    unfinished = folder / f"{STATES_FILE}.{os.getpid()}"  # several processes may save the same
    save_file(tensors, unfinished, metadata={"prompt": prompt})
    unfinished.rename(folder / STATES_FILE)


def encode_prompts(folder: Path, texts: list[str]) -> Tensor:
    """States of texts from the folder's text encoder, (N, 77, D) float32.

    Raises:
        ValueError: It cannot be opened.
    """
    encoder, tokenizer = open_text_encoder(folder, "CLIPTextModel", "CLIPTokenizer", torch.float32)
    tokens = torch.tensor([token_numbers(tokenizer, text) for text in texts])
    return text_states(encoder, tokens, NUM_LAYERS)


def token_numbers(tokenizer: Any, text: str) -> list[int]:
    """A text's 77 numbers: start, words, end, padding; a longer text loses its last words.

    The published results' tokenizer, OpenCLIP's, reads HTML's names of signs and makes curly quotes straight.

    Args:
        tokenizer: Transformers' CLIPTokenizer with CLIP's vocabulary.
        text: In plain words.
    """
    plain = html.unescape(html.unescape(text)).translate(STRAIGHT_QUOTES)
    known: list[int] = tokenizer(plain, truncation=True, max_length=NUM_TOKENS)["input_ids"]
    return known + [PAD_TOKEN] * (NUM_TOKENS - len(known))


@torch.no_grad()
def text_states(encoder: Any, tokens: Tensor, num_layers: int) -> Tensor:
    """States after some of the layers and the final norm.

    Args:
        encoder: Transformers' CLIPTextModel; its further layers are taken off.
        tokens: (N, L) integers.
        num_layers: To run.

    Returns:
        (N, L, D) float32.

    Raises:
        ValueError: The encoder has fewer layers.
    """
    tower = getattr(encoder, "text_model", encoder)
    if len(tower.encoder.layers) < num_layers:
        raise ValueError(
            f"the text encoder has {len(tower.encoder.layers)} layers, and {num_layers} are used"
        )
    tower.encoder.layers = tower.encoder.layers[:num_layers]
    states: Tensor = encoder(input_ids=tokens).last_hidden_state
    return states.float()
