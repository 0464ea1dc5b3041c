"""The I2VGen-XL-based STAR as the tool sees it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from diffst.cfca import CFCA
from diffst.checkpoint import NANO_FOLDER, load_component
from diffst.limits import Limits
from diffst.reach import CONTEXT_KEYFRAMES
from diffst.star.checkpoint import load_star_pipeline
from diffst.star.model import OVERLAP_KEYFRAMES, SamplingModel
from diffst.star.pipeline import StarPipeline
from diffst.star.settings import StarSettings
from diffst.star.text import prompt_states
from diffst.star.vae import FACTOR, decoding_type
from diffst.upscaler import ModelRules, choose_device, choose_precision


class StarModel(SamplingModel[StarSettings]):
    """See `SamplingModel`; the type of its network decides that of its decoder."""

    def __init__(
        self,
        name: str,
        pipeline: StarPipeline,
        cfca: CFCA,
        text: Tensor,
        settings: StarSettings,
        device: torch.device,
    ) -> None:
        """See `SamplingModel`; the text is (2, L, D), states of the prompt and of the negative prompt."""
        super().__init__(name, rules_of(settings), pipeline, cfca, text, settings, device)
        self.pipeline.vae.decoder.to(decoding_type(pipeline.unet.dtype, device))
        self.unlimited = settings

    def keep_within(self, limits: Limits) -> None:
        """See `LimitedModel`; a tile is what both the network and the VAE see of a picture."""
        given = self.unlimited
        side = None if limits.tile is None else limits.tile // FACTOR
        self.settings = replace(
            given,
            window_frames=limits.window_frames or given.window_frames,
            decode_frames=limits.latents_per_call or given.decode_frames,
            tile_latents=given.tile_latents if side is None else (side, side),
            vae_tile_latents=given.vae_tile_latents if side is None else side,
        )
        self.offload(wanted=limits.offload)


def rules_of(settings: StarSettings) -> ModelRules:
    """How clips are cut: as long as what the network sees together."""
    return ModelRules(
        clip_keyframes=settings.window_frames,
        overlap_keyframes=min(OVERLAP_KEYFRAMES, settings.window_frames // 2),
        context_keyframes=CONTEXT_KEYFRAMES,
    )


def load_star(
    folder: Path,
    *,
    name: str = "",
    device: str = "auto",
    precision: str = "auto",
    prompt: str | None = None,
    settings: StarSettings | None = None,
) -> StarModel:
    """Load a STAR folder as the tool wants it.

    Args:
        folder: As `save_pretrained` writes it, with the prompt's states or a text encoder.
        name: Shown to the user; empty is the folder's.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        precision: "auto", "fp32", "bf16" or "fp16"; "auto" is float16 on CUDA, as published results.
        prompt: What the video shows; may be empty. None is the folder's own, see `prompt_states`.
        settings: How to sample; None is as published.

    Raises:
        ValueError: No such device or precision, the files do not fit together, or the prompt needs a text encoder
            that is not there.
        FileNotFoundError: Files are missing.
    """
    chosen = choose_device(device)
    published = precision == "auto" and chosen.type == "cuda"
    kind = torch.float16 if published else choose_precision(precision, chosen)
    text = prompt_states(folder, prompt)
    return StarModel(
        name or folder.name,
        load_star_pipeline(folder, dtype=kind),
        load_component(CFCA, NANO_FOLDER / "cfca"),
        text,
        settings or StarSettings(),
        chosen,
    )
