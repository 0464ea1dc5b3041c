"""Pipeline folders on disk: build, load, hash. Weights are safetensors and nothing else; keys must fit exactly."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from safetensors import safe_open
from safetensors.torch import load_file

from diffst.cfca import CFCA
from diffst.codec import NanoCodec
from diffst.pipeline import DiffSTPipeline
from diffst.transformer import NANO_TRANSFORMER
from diffst.vrg import VideoGuidance

NANO_FOLDER = Path(__file__).parent / "weights" / "nano"
WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"
COMPONENTS = {
    "cfca": CFCA,
    "vrg": VideoGuidance,
    "transformer": WanTransformer3DModel,
    "codec": NanoCodec,
}
CONSTANTS = ("timestep", "sigma", "window_latents")


def new_nano(seed: int) -> DiffSTPipeline:
    """A nano pipeline with fresh weights: its first output is the bicubic enlargement of CFCA's linear blend."""
    torch.manual_seed(seed)
    transformer = WanTransformer3DModel(**NANO_TRANSFORMER)
    torch.nn.init.zeros_(transformer.proj_out.weight)
    torch.nn.init.zeros_(transformer.proj_out.bias)
    return DiffSTPipeline(
        cfca=CFCA(), vrg=VideoGuidance(), transformer=transformer, codec=NanoCodec()
    )


def load_pipeline(folder: Path) -> DiffSTPipeline:
    """Load a pipeline folder strictly, in float32 on the CPU.

    `DiffSTPipeline.from_pretrained` loads the same folder the diffusers way, but only warns where keys do not fit.

    Raises:
        FileNotFoundError: The folder or a part of it is missing.
        ValueError: It holds another pipeline, or its weights do not fit its configuration.
    """
    index_file = folder / "model_index.json"
    if not index_file.is_file():
        raise FileNotFoundError(f"no `model_index.json` in `{folder}`")
    index = json.loads(index_file.read_text())
    if index.get("_class_name") != DiffSTPipeline.__name__:
        raise ValueError(
            f"`{folder}` holds a `{index.get('_class_name')}`, not a `{DiffSTPipeline.__name__}`"
        )
    parts = {
        name: load_component(kind, folder / name)
        for name, kind in COMPONENTS.items()
        if index[name][1] is not None
    }
    constants = {name: index[name] for name in CONSTANTS}
    return DiffSTPipeline(**{"vrg": None, **parts}, **constants)


def load_component(kind: type[Any], folder: Path) -> Any:
    """One component from its `config.json` and safetensors file, every key matched."""
    config = json.loads((folder / "config.json").read_text())
    component = kind.from_config(config)
    weights = load_file(folder / WEIGHTS_FILE)
    try:
        component.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise ValueError(
            f"the weights in `{folder}` do not fit its configuration: {error}"
        ) from error
    return component.eval()


def weights_hash(folder: Path) -> str:
    """SHA-256 over all weight and configuration files of a pipeline folder, in name order."""
    digest = hashlib.sha256()
    files = [path for path in folder.rglob("*") if path.suffix in (".json", ".safetensors")]
    for path in sorted(files):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def num_parameters(folder: Path) -> int:
    """Parameters in a pipeline folder's weight files, from their headers."""
    total = 0
    for path in folder.rglob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            total += sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118  (not a dict)
    return total
