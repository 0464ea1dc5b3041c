"""STAR as the tool sees it: frames between keyframes by CFCA first, then all of them enlarged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from diffst.cfca import CFCA
from diffst.checkpoint import NANO_FOLDER, load_component
from diffst.limits import Limits
from diffst.pipeline import OnStage, stage_clock
from diffst.pixels import to_float
from diffst.star.checkpoint import load_star_pipeline
from diffst.star.new_frames import frames_at
from diffst.star.pipeline import StarPipeline
from diffst.star.settings import StarSettings
from diffst.star.text import DEFAULT_PROMPT, prompt_states
from diffst.star.vae import FACTOR, decoding_type
from diffst.upscaler import ModelRules, choose_device, choose_precision

OVERLAP_KEYFRAMES = 4  # of neighbouring clips; what both make of them is crossfaded
CONTEXT_KEYFRAMES = 2  # that CFCA looks at on each side


class StarModel:
    """A STAR pipeline with what it does not have itself: new frames, and the prompt's states.

    Args:
        name: Shown to the user.
        pipeline: Moved to the device; the type of its network decides that of its decoder.
        cfca: Makes the frames between keyframes; moved too.
        text: (2, L, D) float: states of the prompt and of the negative prompt.
        settings: How to sample.
        device: To run on.
    """

    def __init__(
        self,
        name: str,
        pipeline: StarPipeline,
        cfca: CFCA,
        text: Tensor,
        settings: StarSettings,
        *,
        device: torch.device,
    ) -> None:
        self.name = name
        self.rules = rules_of(settings)
        pipeline.unet.to(device)
        pipeline.vae.to(device)
        pipeline.vae.decoder.to(decoding_type(pipeline.unet.dtype, device))
        self.pipeline = pipeline
        self.offloads = False
        self.cfca = cfca.to(device)
        self.text = text
        self.settings = settings
        self.limited = settings
        self.device = device

    def keep_within(self, limits: Limits) -> None:
        """See `LimitedModel`; a tile is what both the network and the VAE see of a picture."""
        side = None if limits.tile is None else limits.tile // FACTOR
        self.limited = replace(
            self.settings,
            window_frames=limits.window_frames or self.settings.window_frames,
            decode_frames=limits.latents_per_call or self.settings.decode_frames,
            tile_latents=self.settings.tile_latents if side is None else (side, side),
            vae_tile_latents=self.settings.vae_tile_latents if side is None else side,
        )
        wanted = limits.offload and self.device.type != "cpu"
        if wanted and not self.offloads:
            self.pipeline.enable_model_cpu_offload(device=self.device)
        elif self.offloads and not wanted:
            self.pipeline.remove_all_hooks()
            self.pipeline.to(self.device)
        self.offloads = wanted

    @torch.inference_mode()
    def __call__(
        self,
        frames: Tensor,
        instants: Sequence[tuple[int, float]],
        out_size: tuple[int, int],
        on_stage: OnStage | None = None,
        first_keyframe: int = 0,
    ) -> Tensor:
        """See `UpscaleModel`; the first keyframe's number decides which noise the frames get."""
        stage = stage_clock(on_stage, self.device)
        # 1. The frame of each instant, still small.
        with stage("cfca"):
            small = frames_at(self.cfca, to_float(frames.to(self.device)), instants)
        # 2. Large ones.
        made: Tensor = self.pipeline(
            small,
            out_size,
            self.text,
            self.limited,
            positions=[(first_keyframe + keyframe, alpha) for keyframe, alpha in instants],
            output_type=frames.dtype,
            on_stage=on_stage,
        )
        return made


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
    prompt: str = DEFAULT_PROMPT,
    settings: StarSettings | None = None,
) -> StarModel:
    """Load a STAR folder as the tool wants it.

    Args:
        folder: As `save_pretrained` writes it, with the prompt's states or a text encoder.
        name: Shown to the user; empty is the folder's.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        precision: "auto", "fp32", "bf16" or "fp16"; "auto" is float16 on CUDA, as published results.
        prompt: What the video shows; may be empty.
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
        device=chosen,
    )
