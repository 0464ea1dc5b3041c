"""The models that sample: their names, and whether a folder holds one. Light: it reads a few bytes of JSON."""

from __future__ import annotations

from pathlib import Path

from diffst.folders import held_class, model_folder

UNET_PIPELINE, COGVIDEOX_PIPELINE = "StarPipeline", "StarCogVideoXPipeline"
STAR_MODELS = {
    "star-light": UNET_PIPELINE,
    "star-heavy": UNET_PIPELINE,
    "star-cogvideox": COGVIDEOX_PIPELINE,
}
MAX_STEPS = {UNET_PIPELINE: 899, COGVIDEOX_PIPELINE: 1000}  # by pipeline: its sampler's levels
MAX_GUIDANCE = 100
# By pipeline: how the frames that two windows of a long clip share become one; one that sees it whole has none.
WINDOWS = {UNET_PIPELINE: ("fade", "cut"), COGVIDEOX_PIPELINE: ()}
ENCODER_FOLDER = "text_encoder"  # in a model's folder; opened by transformers
INSTALL_ENCODERS = "`pip install 'diffst[star]'`"
PUBLISHED_FOLDER = "published"  # of the authors' files, in a model's folder


def star_folder(model: str) -> Path:
    """Where a model given by its name or its folder lies, whether it is there or not."""
    return model_folder(model) if model in STAR_MODELS else Path(model)


def star_pipeline(model: str) -> str | None:
    """The pipeline class of a STAR model given by its name or its folder; None for other models."""
    if model in STAR_MODELS:
        return STAR_MODELS[model]
    held = held_class(Path(model))
    return held if held in STAR_MODELS.values() else None
