"""From trained weights to a pipeline folder: a fresh pipeline with them, low-rank updates put into the weights."""

from __future__ import annotations

from typing import Any

from accelerate import init_empty_weights
from torch import Tensor

from diffst.training.lora import WAN_BLOCK, add_lora, merge_lora
from diffst.wan.pipeline import DiffSTWanPipeline
from diffst.wan.training.sharding import numbers_to_vectors, plain_type, vectors_to_numbers

Weights = dict[str, Tensor]


def finished_pipeline(
    given: DiffSTWanPipeline, weights: Weights, *, lora_rank: int, trained: bool
) -> DiffSTWanPipeline:
    """A pipeline on the CPU for use: the given one's parts, those with weights of their own made anew.

    Args:
        given: Gives configurations and what was not trained; not changed.
        weights: Of `StageModel`, keys `part.key`, on the CPU; taken over.
        lora_rank: Of the updates among them; 0 where there are none.
        trained: Whether the pipeline may be used to upscale.
    """
    parts: dict[str, Any] = dict(given.components)
    for name in {key.partition(".")[0] for key in weights}:
        own = {
            key.partition(".")[2]: value
            for key, value in weights.items()
            if key.partition(".")[0] == name
        }
        rank = lora_rank if name == "transformer" else 0
        parts[name] = finished_part(parts[name], own, rank)
    config = given.config
    pipeline = DiffSTWanPipeline(
        **parts,
        timestep=config.timestep,
        sigma=config.sigma,
        window_latents=config.window_latents,
        trained=trained,
    )
    return pipeline


def finished_part(given: Any, weights: Weights, lora_rank: int) -> Any:
    """A component of the configuration of another with other weights, which are taken over."""
    with init_empty_weights(include_buffers=False):
        part: Any = plain_type(given)
        part = part.from_config(given.config)
        numbers_to_vectors(part)
        if lora_rank:
            add_lora(part, lora_rank, WAN_BLOCK)
    part.load_state_dict(weights, strict=True, assign=True)
    vectors_to_numbers(part)
    if lora_rank:
        merge_lora(part)
    return part.requires_grad_(False).eval()
