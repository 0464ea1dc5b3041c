"""The CogVideoX-based STAR as the tool sees it."""

from __future__ import annotations

import json
from pathlib import Path

from diffusers.models.autoencoders.autoencoder_kl_cogvideox import AutoencoderKLCogVideoX

from diffst.cfca import CFCA
from diffst.checkpoint import NANO_FOLDER, load_component
from diffst.limits import Limits
from diffst.star.cogvideox import StarCogVideoXTransformer
from diffst.star.cogvideox_pipeline import MAX_FRAMES, CogVideoXSettings, StarCogVideoXPipeline
from diffst.star.cogvideox_text import prompt_states
from diffst.star.model import CONTEXT_KEYFRAMES, OVERLAP_KEYFRAMES, SamplingModel
from diffst.upscaler import ModelRules, choose_device, choose_precision

PIPELINE = StarCogVideoXPipeline.__name__
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
    index_file = folder / "model_index.json"
    if not index_file.is_file():
        raise FileNotFoundError(f"no `model_index.json` in `{folder}`")
    held = json.loads(index_file.read_text(encoding="utf-8")).get("_class_name")
    if held != PIPELINE:
        raise ValueError(f"`{folder}` holds a `{held}`, not a `{PIPELINE}`")
    transformer = load_component(StarCogVideoXTransformer, folder / "transformer", kind)
    vae = load_component(AutoencoderKLCogVideoX, folder / "vae", kind)
    text = prompt_states(folder, prompt, transformer.config.max_text_seq_length)
    pipeline = StarCogVideoXPipeline(transformer, vae)
    return StarCogVideoXModel(
        name or folder.name,
        RULES,
        pipeline,
        load_component(CFCA, NANO_FOLDER / "cfca"),
        text,
        settings or CogVideoXSettings(),
        chosen,
    )
