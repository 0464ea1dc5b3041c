"""The CogVideoX-based STAR as the tool sees it."""

from __future__ import annotations

from pathlib import Path

from diffst.cfca import CFCA
from diffst.checkpoint import NANO_FOLDER, load_component
from diffst.limits import Limits
from diffst.reach import CONTEXT_KEYFRAMES
from diffst.star.checkpoint import load_cogvideox_pipeline
from diffst.star.cogvideox_pipeline import MAX_FRAMES, CogVideoXSettings
from diffst.star.cogvideox_text import prompt_states
from diffst.star.model import OVERLAP_KEYFRAMES, SamplingModel
from diffst.upscaler import ModelRules, choose_device, choose_precision

RULES = ModelRules(
    clip_keyframes=MAX_FRAMES,
    overlap_keyframes=OVERLAP_KEYFRAMES,
    context_keyframes=CONTEXT_KEYFRAMES,
    max_frames=MAX_FRAMES,
)


class StarCogVideoXModel(SamplingModel[CogVideoXSettings]):
    """See `SamplingModel`; its text is (1, L, D), states of the prompt, or None for no prompt."""

    def keep_within(self, limits: Limits) -> None:
        """See `LimitedModel`: tiles of the VAE, and parts in main memory; the rest is as the network was taught."""
        self.pipeline.set_vae_tile(limits.tile)
        self.offload(wanted=limits.offload)


def load_star_cogvideox(
    folder: Path,
    *,
    name: str = "",
    device: str = "auto",
    precision: str = "auto",
    prompt: str = "",
    settings: CogVideoXSettings | None = None,
) -> StarCogVideoXModel:
    """Load a folder as the tool wants it.

    Args:
        folder: As `save_pretrained` writes it; a prompt needs `text_encoder/` and `tokenizer/` in it.
        name: Shown to the user; empty is the folder's.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        precision: "auto", "fp32", "bf16" or "fp16".
        prompt: What the video shows; empty for none.
        settings: How to sample; None is as published.

    Raises:
        ValueError: No such device or precision, the files do not fit together, or the prompt cannot be used.
        FileNotFoundError: Files are missing.
    """
    chosen = choose_device(device)
    kind = choose_precision(precision, chosen)
    pipeline = load_cogvideox_pipeline(folder, dtype=kind)
    text = prompt_states(folder, prompt, pipeline.transformer.config.max_text_seq_length)
    return StarCogVideoXModel(
        name or folder.name,
        RULES,
        pipeline,
        load_component(CFCA, NANO_FOLDER / "cfca"),
        text,
        settings or CogVideoXSettings(),
        chosen,
    )
