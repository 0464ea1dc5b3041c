"""STAR's files: the published weights in, a folder of safetensors out, and that folder in again."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import AutoencoderKLCogVideoX
from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import (
    AutoencoderKLTemporalDecoder,
)
from torch import Tensor

from diffst.checkpoint import load_component, read_index
from diffst.star.cogvideox import StarCogVideoXTransformer
from diffst.star.cogvideox_pipeline import StarCogVideoXPipeline
from diffst.star.names import COGVIDEOX_PIPELINE, UNET_PIPELINE
from diffst.star.network import StarUNet
from diffst.star.pickled import read_pickled
from diffst.star.pipeline import StarPipeline

log = logging.getLogger(__name__)


def read_published(path: Path, network: StarUNet) -> dict[str, Tensor]:
    """The tensors of a published `.pt` file that the network has; nothing in the file is run.

    Args:
        path: `light_deg.pt` or `heavy_deg.pt`.
        network: Of the published size, on any device; it is compared with, not changed.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It holds something else, or a tensor is missing or of another shape.
    """
    content = read_pickled(path)
    tensors = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(tensors, Mapping):
        raise ValueError(f"`{path}` holds a `{type(content).__name__}`, not named tensors")
    wanted = {key: value.shape for key, value in network.state_dict().items()}
    check_shapes(path, wanted, tensors)
    further = sorted(set(tensors) - set(wanted))
    if further:
        log.warning(
            "`%s` holds %d tensors, %d of them unused, as `%s`",
            path,
            len(tensors),
            len(further),
            further[0],
        )
    return {key: tensors[key] for key in wanted}


def check_shapes(path: Path, wanted: Mapping[str, torch.Size], tensors: Mapping[str, Any]) -> None:
    """Raise ValueError for tensors that are missing or of another shape."""
    missing = [key for key in wanted if key not in tensors]
    if missing:
        raise ValueError(
            f"`{path}` lacks {len(missing)} of STAR's {len(wanted)} tensors, as `{missing[0]}`"
        )
    for key, shape in wanted.items():
        if tensors[key].shape != shape:
            has = tuple(tensors[key].shape)
            raise ValueError(f"`{path}` has `{key}` of shape {has}, not {tuple(shape)}")


def empty_network(config: Mapping[str, Any] | None = None) -> StarUNet:
    """A network that takes no memory until weights are assigned; None is the published size."""
    with torch.device("meta"):
        network: StarUNet = StarUNet.from_config(dict(config or {}))
    return network


def convert_published(
    path: Path,
    folder: Path,
    *,
    dtype: torch.dtype = torch.float16,
    config: Mapping[str, Any] | None = None,
) -> None:
    """Write a published `.pt` file as `folder/config.json` and a safetensors file half its size.

    Args:
        path: `light_deg.pt` or `heavy_deg.pt`.
        folder: The `unet` folder of a pipeline; made where it is not there.
        dtype: Of the written weights; published results were computed in float16.
        config: Of another size of network, for tests.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It does not hold STAR's weights.
    """
    network = empty_network(config)
    tensors = read_published(path, network)
    halves = {key: value.to(dtype) for key, value in tensors.items()}
    network.load_state_dict(halves, strict=True, assign=True)
    network.save_pretrained(folder, max_shard_size="100GB")


def load_star_pipeline(folder: Path, *, dtype: torch.dtype = torch.float32) -> StarPipeline:
    """Load a pipeline folder strictly, on the CPU.

    Args:
        folder: As `save_pretrained` writes it.
        dtype: Of the network; the VAE is in float32.

    Raises:
        FileNotFoundError: The folder or a part of it is missing.
        ValueError: It holds another pipeline, or its weights do not fit its configuration.
    """
    index = require_pipeline(folder, UNET_PIPELINE)
    unet = load_component(StarUNet, folder / "unet", dtype).requires_grad_(False)
    vae = load_component(AutoencoderKLTemporalDecoder, folder / "vae").requires_grad_(False)
    return StarPipeline(unet=unet, vae=vae, least_size=tuple(index["least_size"]))


def load_cogvideox_pipeline(
    folder: Path, *, dtype: torch.dtype = torch.float32
) -> StarCogVideoXPipeline:
    """Likewise, of the CogVideoX-based STAR; `dtype` is that of both parts."""
    require_pipeline(folder, COGVIDEOX_PIPELINE)
    transformer = load_component(StarCogVideoXTransformer, folder / "transformer", dtype)
    vae = load_component(AutoencoderKLCogVideoX, folder / "vae", dtype)
    return StarCogVideoXPipeline(transformer.requires_grad_(False), vae.requires_grad_(False))


def require_pipeline(folder: Path, wanted: str) -> dict[str, Any]:
    """The index of a folder; raises FileNotFoundError where there is none, ValueError where another class is held."""
    index = read_index(folder)
    held = index.get("_class_name")
    if held != wanted:
        raise ValueError(f"`{folder}` holds a `{held}`, not a `{wanted}`")
    return index
