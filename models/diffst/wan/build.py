"""DiffST pipelines of Wan's size: with random weights, for speed and memory; and what they hold."""

from __future__ import annotations

import math
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch import Tensor, nn

from diffst.cfca import CFCA
from diffst.vrg import VideoGuidance
from diffst.wan.codec import WanCodec
from diffst.wan.pipeline import DiffSTWanPipeline
from diffst.wan.sizes import SIZES, WanSize
from diffst.wan.tiny_decoder import TinyDecoder


def build_random(
    size: str = "1.3b", *, dtype: torch.dtype = torch.bfloat16, seed: int = 0
) -> DiffSTWanPipeline:
    """A pipeline whose every weight is random: for speed and memory, never for pictures.

    Signals keep their size through it, so nothing overflows in a short type.

    Args:
        size: "1.3b", that of Wan2.1-T2V-1.3B, or "tiny", the same classes for tests.
        dtype: Of transformer and codec; what Wan keeps in float32, CFCA and VRG stay in float32.
            CFCA has the values a training starts from.
        seed: The same seed gives the same weights.

    Raises:
        ValueError: There is no such size.
    """
    chosen = named_size(size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        cfca = CFCA(**chosen.cfca).eval().requires_grad_(False)
    parts = empty_parts(chosen)
    generator = torch.Generator().manual_seed(seed)
    for name, part in parts.items():
        short = dtype if name in ("transformer", "codec") else torch.float32
        kept = getattr(part, "_keep_in_fp32_modules", None) or ()
        for key, parameter in list(part.named_parameters()):
            kind = torch.float32 if any(word in key.split(".") for word in kept) else short
            fill(part, key, random_values(key, parameter, generator, kind))
        part.eval().requires_grad_(False)
    return DiffSTWanPipeline(cfca=cfca, video_encoder=None, **parts)


def random_tiny_decoder(
    size: str = "1.3b", *, dtype: torch.dtype = torch.bfloat16, seed: int = 0
) -> TinyDecoder:
    """A tiny decoder whose weights are random; see `build_random`.

    Raises:
        ValueError: There is no such size.
    """
    decoder = empty_tiny_decoder(named_size(size))
    generator = torch.Generator().manual_seed(seed)
    for key, parameter in list(decoder.named_parameters()):
        fill(decoder, key, random_values(key, parameter, generator, dtype))
    decoder.eval().requires_grad_(False)
    return decoder


def empty_tiny_decoder(size: WanSize) -> TinyDecoder:
    """The tiny decoder with its parameters on the meta device."""
    with init_empty_weights():
        decoder: TinyDecoder = TinyDecoder(**size.tiny_decoder)
    return decoder


def named_size(size: str) -> WanSize:
    """The configurations of a size by its name.

    Raises:
        ValueError: There is none.
    """
    if size not in SIZES:
        raise ValueError(f"size `{size}` is not one of {', '.join(SIZES)}")
    return SIZES[size]


def empty_parts(size: WanSize) -> dict[str, Any]:
    """Each large component, its parameters on the meta device, which takes no memory, its buffers in place."""
    with init_empty_weights(include_buffers=False):
        return {
            "vrg": VideoGuidance(**size.vrg),
            "transformer": WanTransformer3DModel(**size.transformer),
            "codec": WanCodec(**size.vae),
        }


def random_values(key: str, like: Tensor, generator: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Values for one parameter: scales 1, biases 0, else normal with a spread of 1 / sqrt(inputs)."""
    shape = like.shape
    if "norm" in key and not key.endswith("bias"):
        return torch.ones(shape, dtype=dtype)
    if key.endswith("bias"):
        return torch.zeros(shape, dtype=dtype)
    inputs = shape[-1] if "scale_shift_table" in key else max(1, math.prod(shape[1:]))
    values = torch.empty(shape, dtype=dtype)
    return values.normal_(std=inputs**-0.5, generator=generator)


def fill(module: nn.Module, key: str, values: Tensor) -> None:
    """Put a parameter in its place."""
    path, _, name = key.rpartition(".")
    setattr(module.get_submodule(path), name, nn.Parameter(values, requires_grad=False))


def parameter_counts(pipeline: DiffSTWanPipeline) -> dict[str, int]:
    """Parameters of each component."""
    return {
        name: sum(parameter.numel() for parameter in part.parameters())
        for name, part in pipeline.components.items()
        if isinstance(part, nn.Module)
    }


def cast_transformer(
    transformer: WanTransformer3DModel, dtype: torch.dtype
) -> WanTransformer3DModel:
    """Bring a transformer to a type in place, all but what Wan keeps in float32."""
    kept = transformer._keep_in_fp32_modules
    for key, parameter in transformer.named_parameters():
        keep = any(word in key.split(".") for word in kept)
        parameter.data = parameter.data.to(torch.float32 if keep else dtype)
    return transformer
