"""The text encoders of both kinds of STAR, through transformers: opened strictly, and without its talk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from diffst.star.names import ENCODER_FOLDER, INSTALL_ENCODERS

TOKENIZER_FOLDER = "tokenizer"
# Nothing is fetched, and no program that lies in a model's folder is run, nor asked about.
STRICT = {"local_files_only": True, "trust_remote_code": False}


def open_text_encoder(
    folder: Path, encoder_class: str, tokenizer_class: str, dtype: torch.dtype
) -> tuple[Any, Any]:
    """A model folder's text encoder and its tokenizer.

    Args:
        folder: Of the model.
        encoder_class: Of transformers.
        tokenizer_class: Likewise.
        dtype: Of the encoder.

    Raises:
        ValueError: One of them is missing or damaged, or a package is not installed; it says what to do.
    """
    for part in (ENCODER_FOLDER, TOKENIZER_FOLDER):
        if not (folder / part).is_dir():
            raise ValueError(f"`{folder}` has no `{part}`, so it cannot take this prompt")
    try:
        import transformers
        from transformers.utils import logging as transformers_logging

        # It would tell of the picture half of CLIP, which is in the same file and not wanted.
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        encoder_kind = getattr(transformers, encoder_class)
        tokenizer_kind = getattr(transformers, tokenizer_class)
    except ImportError as error:
        raise ValueError(
            f"the prompt's text encoder needs packages that are not here: {INSTALL_ENCODERS}"
        ) from error
    try:
        tokenizer = tokenizer_kind.from_pretrained(folder / TOKENIZER_FOLDER, **STRICT)
    except (ImportError, OSError, ValueError) as error:  # so it is where a package is missing, too
        raise ValueError(
            f"`{folder / TOKENIZER_FOLDER}` cannot be opened: {INSTALL_ENCODERS}, or fetch the folder again"
        ) from error
    try:
        encoder, found = encoder_kind.from_pretrained(
            folder / ENCODER_FOLDER,
            dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
            **STRICT,
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise ValueError(
            f"`{folder / ENCODER_FOLDER}` cannot be opened: {error}; fetch the folder again"
        ) from error
    missing = sorted(found["missing_keys"])
    if missing:
        raise ValueError(
            f"`{folder / ENCODER_FOLDER}` lacks {len(missing)} tensors, as `{missing[0]}`"
        )
    return encoder.eval(), tokenizer
