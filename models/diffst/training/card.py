"""The model card that a training of nano leaves beside its weights; what any training's card is made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from diffst.training.config import TrainConfig

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

CARD_NAME = "MODEL_CARD.md"
FIGURES = {
    "kept": "PSNR of kept frames' luma, dB",
    "kept_bicubic": "the same of bicubic enlargement, dB",
    "new": "PSNR of new frames' luma, dB",
    "new_fused_bicubic": "the same of CFCA's frames enlarged, dB",
}


def nano_card(
    config: TrainConfig, *, step: int, seconds: float, figures: Mapping[str, float]
) -> str:
    """The card's text.

    Args:
        config: The run, in its last sitting.
        step: Steps that the weights have had in this run.
        seconds: That these took.
        figures: Of the weights, by the names in `FIGURES`.
    """
    start = f"the weights in `{config.start_from}`" if config.start_from else "fresh weights"
    lines = [
        "# A model of nano's kind\n",
        "4x in space, any frame rate: `diffst upscale in.mp4 out.mp4 --model FOLDER`. Trained by `diffst train`.\n",
        f"- Data: the clips prepared in `{config.data}`",
        "- Licence: not said; what the clips and photos allow, their owner knows",
        f"- Start: {start}",
        f"- Steps: {step} of {config.batch_windows} windows, {4 * config.crop} pixels wide and high, "
        f"in {seconds / 60:.0f} minutes\n",
        "## Figures\n",
        *figure_table(figures, FIGURES),
        f"\nWindows of `{config.validation}`, always the same ones; the averaged weights.\n",
        "## The training file\n",
        settings_block(config),
    ]
    return "\n".join(lines) + "\n"


def figure_table(figures: Mapping[str, float], words: Mapping[str, str]) -> list[str]:
    """Lines of a table of the figures that there are words for; none where there are no figures."""
    rows = [f"| {words[name]} | {figures[name]:.4f} |" for name in words if name in figures]
    return ["| figure | value |", "|---|---|", *rows] if rows else []


def settings_block(config: DataclassInstance) -> str:
    """All that a training file said or left to its defaults."""
    said = json.dumps(asdict(config), default=str, indent=1, ensure_ascii=False)
    return f"```json\n{said}\n```"
