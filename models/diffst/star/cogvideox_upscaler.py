"""The CogVideoX-based STAR as the tool sees it: frames between keyframes by CFCA first, then all of them enlarged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import AutoencoderKLCogVideoX
from torch import Tensor

from diffst.cfca import CFCA
from diffst.checkpoint import NANO_FOLDER, load_component
from diffst.limits import Limits
from diffst.pipeline import OnStage, stage_clock
from diffst.pixels import to_float
from diffst.star.cogvideox import StarCogVideoXTransformer
from diffst.star.cogvideox_pipeline import MAX_FRAMES, CogVideoXSettings, StarCogVideoXPipeline
from diffst.star.cogvideox_text import prompt_states
from diffst.star.new_frames import frames_at
from diffst.upscaler import ModelRules, choose_device, choose_precision

PIPELINE = StarCogVideoXPipeline.__name__
OVERLAP_KEYFRAMES = 4  # of neighbouring clips; what both make of them is crossfaded
CONTEXT_KEYFRAMES = 2  # that CFCA looks at on each side
RULES = ModelRules(
    clip_keyframes=MAX_FRAMES,
    overlap_keyframes=OVERLAP_KEYFRAMES,
    context_keyframes=CONTEXT_KEYFRAMES,
    max_frames=MAX_FRAMES,
)


class StarCogVideoXModel:
    """A pipeline with what it does not have itself: new frames, and the prompt's states."""

    def __init__(
        self,
        name: str,
        pipeline: StarCogVideoXPipeline,
        cfca: CFCA,
        text: Tensor | None,
        settings: CogVideoXSettings,
        device: torch.device,
    ) -> None:
        """Take over the pipeline and move it to the device.

        Args:
            name: Shown to the user.
            pipeline: In the type it computes in.
            cfca: Makes the frames between keyframes.
            text: (1, L, D) states of the prompt; None for no prompt.
            settings: How to sample.
            device: To run on.
        """
        self.name = name
        self.rules = RULES
        self.pipeline = pipeline.to(device)
        self.cfca = cfca.to(device)
        self.text = text
        self.settings = settings
        self.device = device

    def keep_within(self, limits: Limits) -> None:
        """See `LimitedModel`: tiles of the VAE, and parts in main memory; the rest is as the network was taught."""
        self.pipeline.offload = limits.offload
        self.pipeline.to("cpu" if limits.offload else self.device)
        self.pipeline.set_vae_tile(limits.tile)

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
        with stage("cfca"):
            small = frames_at(self.cfca, to_float(frames.to(self.device)), instants)
        made: Tensor = self.pipeline(
            small,
            out_size,
            self.text,
            self.settings,
            positions=[(first_keyframe + keyframe, alpha) for keyframe, alpha in instants],
            output_type=frames.dtype,
            on_stage=on_stage,
        )
        return made


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
    cfca = load_component(CFCA, NANO_FOLDER / "cfca")
    return StarCogVideoXModel(
        name or folder.name, pipeline, cfca, text, settings or CogVideoXSettings(), chosen
    )
