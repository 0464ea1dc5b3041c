"""From Wan's published files to a DiffST pipeline that training can start from.

Both layouts are read: diffusers' (a folder or a file) and the native one of the Wan repository,
`.safetensors` or `.pth`. Every key and every shape must fit.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders.single_file_utils import (
    convert_wan_transformer_to_diffusers,
    convert_wan_vae_to_diffusers,
)
from torch import Tensor

from diffst.cfca import CFCA
from diffst.checkpoint import fill_component, read_safetensors, read_weights, seeded
from diffst.vrg import VideoGuidance
from diffst.wan.build import empty_parts, empty_tiny_decoder
from diffst.wan.encoded_guidance import guidance_through, load_video_encoder
from diffst.wan.pipeline import DiffSTWanPipeline
from diffst.wan.sizes import SIZES, WanSize
from diffst.wan.tiny_decoder import TinyDecoder

NATIVE_TRANSFORMER_KEY = "head.modulation"
NATIVE_VAE_KEY = "encoder.conv1.weight"


def pipeline_from_wan(
    transformer: Path,
    vae: Path,
    *,
    video_encoder: Path | None = None,
    size: WanSize = SIZES["1.3b"],
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> DiffSTWanPipeline:
    """A pipeline of Wan's own weights with fresh CFCA and VRG, not trained for DiffST.

    CFCA starts as a linear blend and VRG as no guidance at all.

    Args:
        transformer: The `transformer` folder of the diffusers repository, or one file of either layout.
        vae: Likewise.
        video_encoder: A folder with a V-JEPA 2, through which the guidance then looks; None gives it an own encoder.
        size: What the files hold.
        dtype: Of transformer and codec.
        seed: For CFCA and VRG.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: The files hold something else.
    """
    parts = empty_parts(size)
    with seeded(seed):
        encoder = None if video_encoder is None else load_video_encoder(video_encoder, dtype)
        vrg = VideoGuidance(**size.vrg) if encoder is None else guidance_through(encoder, size)
        cfca = CFCA(**size.cfca)
    weights = transformer_layout(read(transformer))
    vae_weights = {f"vae.{key}": value for key, value in vae_layout(read(vae)).items()}
    return DiffSTWanPipeline(
        cfca=cfca.eval(),
        vrg=vrg.eval(),
        transformer=fill_component(parts["transformer"], weights, dtype, str(transformer)),
        codec=fill_component(parts["codec"], vae_weights, dtype, str(vae)),
        video_encoder=encoder,
    )


def tiny_decoder_from(
    path: Path, *, size: WanSize = SIZES["1.3b"], dtype: torch.dtype = torch.float32
) -> TinyDecoder:
    """The tiny decoder of a published TAEW2.1 file, whose encoder is left.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: It holds something else.
    """
    weights = {key: value for key, value in read(path).items() if key.startswith("decoder.")}
    decoder: TinyDecoder = fill_component(empty_tiny_decoder(size), weights, dtype, str(path))
    return decoder


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a component folder or of one file.

    Raises:
        FileNotFoundError: It is not there.
        ValueError: A file that is damaged, or neither safetensors nor a plain table of tensors.
    """
    if path.is_dir():
        return read_weights(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such file: `{path}`")
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:  # EOFError: it is empty
        raise ValueError(f"`{path}` is damaged, or holds more than tensors") from error
    if not isinstance(loaded, dict) or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise ValueError(f"`{path}` is not a plain table of tensors")
    return loaded


def transformer_layout(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """A transformer's tensors under diffusers' keys, from either layout."""
    if not any(key.endswith(NATIVE_TRANSFORMER_KEY) for key in weights):
        return weights
    converted: dict[str, Tensor] = convert_wan_transformer_to_diffusers(weights)
    return converted


def vae_layout(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """A VAE's tensors under diffusers' keys, from either layout."""
    if NATIVE_VAE_KEY not in weights:
        return weights
    converted: dict[str, Tensor] = convert_wan_vae_to_diffusers(weights)
    return converted
