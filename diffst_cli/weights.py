"""Whether the weights on this machine are the ones that were published."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffst.upscaler import ModelCard

HASHES_FILE = "SHA256SUMS"  # in the folder above the model's: `hash  name`, one line a model


def published_hash(card: ModelCard) -> str | None:
    """The SHA-256 a model was published with, over all its files; None when it has none on record."""
    try:
        lines = (card.path.parent / HASHES_FILE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    hashes = {name: digest for digest, name in (line.split() for line in lines)}
    return hashes.get(card.name)


def problem_with(card: ModelCard) -> str | None:
    """What is wrong with a model's files, in plain words; None when they are as published."""
    if not card.installed:
        return f"its files are missing from `{card.path}`"
    published = published_hash(card)
    if published is None:
        return f"no hash on record in `{card.path.parent / HASHES_FILE}`"
    if card.sha256 != published:
        return f"its files in `{card.path}` are not the published ones"
    return None
