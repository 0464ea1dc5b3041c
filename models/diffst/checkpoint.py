"""Pipeline folders on disk: build, load, hash. Weights are safetensors and nothing else; keys must fit exactly."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from diffst.cfca import CFCA
from diffst.codec import NanoCodec
from diffst.folders import EMBEDDED, INDEX_FILE, model_files
from diffst.pipeline import DiffSTPipeline
from diffst.transformer import NANO_TRANSFORMER
from diffst.vrg import Guidance, VideoGuidance
from diffst.wan.codec import WanCodec
from diffst.wan.encoded_guidance import VIDEO_ENCODER, EncodedGuidance, load_video_encoder
from diffst.wan.pipeline import DiffSTWanPipeline

NANO_FOLDER = EMBEDDED["nano"]
WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"
# What a pipeline folder may hold: the class of the pipeline, and of each component.
PIPELINES: dict[str, tuple[type[DiffSTPipeline], dict[str, type[Any]]]] = {
    "DiffSTPipeline": (
        DiffSTPipeline,
        {
            "cfca": CFCA,
            "vrg": VideoGuidance,
            "transformer": WanTransformer3DModel,
            "codec": NanoCodec,
        },
    ),
    "DiffSTWanPipeline": (
        DiffSTWanPipeline,
        {
            "cfca": CFCA,
            "vrg": VideoGuidance,
            "transformer": WanTransformer3DModel,
            "codec": WanCodec,
        },
    ),
}
GUIDANCES: dict[str, type[Guidance]] = {
    kind.__name__: kind for kind in (VideoGuidance, EncodedGuidance)
}
CONSTANTS = ("timestep", "sigma", "window_latents", "trained")
# Components loaded in the short type that is asked for; the others are small and stay in float32.
SHORTENED = {"DiffSTPipeline": (), "DiffSTWanPipeline": ("transformer", "codec")}


def new_nano(seed: int) -> DiffSTPipeline:
    """A nano pipeline with fresh weights: its first output is the bicubic enlargement of CFCA's linear blend.

    Without video guidance, which gave nano nothing; docs/experiments.md says what was tried.
    """
    with seeded(seed):
        transformer = WanTransformer3DModel(**NANO_TRANSFORMER)
        torch.nn.init.zeros_(transformer.proj_out.weight)
        torch.nn.init.zeros_(transformer.proj_out.bias)
        return DiffSTPipeline(cfca=CFCA(), vrg=None, transformer=transformer, codec=NanoCodec())


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, torch's random numbers on the CPU follow from a seed; after it, they go on as if nothing had been."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch's own function seeds the GPUs too
        yield


def load_pipeline(folder: Path | str, *, dtype: torch.dtype = torch.float32) -> DiffSTPipeline:
    """Load a pipeline folder strictly, on the CPU.

    `from_pretrained` loads the same folder the diffusers way, but only warns where keys do not fit.

    Args:
        folder: As `save_pretrained` writes it without a `variant`.
        dtype: Of the large components of Wan's size, all but what Wan keeps in float32; the rest is float32.

    Raises:
        FileNotFoundError: The folder or a part of it is missing.
        ValueError: It holds another pipeline, its weights do not fit its configuration, or a file is damaged.
    """
    folder = Path(folder)
    index, index_file = read_index(folder), folder / INDEX_FILE
    kind = str(index.get("_class_name"))
    if kind not in PIPELINES:
        raise ValueError(f"`{folder}` holds a `{kind}`, not a `{'` or a `'.join(PIPELINES)}`")
    pipeline, components = PIPELINES[kind]
    for name in components:
        if not (isinstance(index.get(name), list) and len(index[name]) == 2):
            raise ValueError(f"`{index_file}` is damaged: it does not say what its `{name}` is")
    parts = {
        name: load_component(
            GUIDANCES.get(index[name][1], component),
            folder / name,
            dtype if name in SHORTENED[kind] else torch.float32,
        )
        for name, component in components.items()
        if index[name][1] is not None
    }
    if index.get(VIDEO_ENCODER, [None, None])[1] is not None:
        parts[VIDEO_ENCODER] = load_video_encoder(folder / VIDEO_ENCODER, dtype)
    constants = {name: index[name] for name in CONSTANTS if name in index}
    given = {**dict.fromkeys(pipeline._optional_components), **parts, **constants}
    try:
        return pipeline(**given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`{index_file}` does not describe a `{kind}`: {error}") from error


def read_index(folder: Path) -> dict[str, Any]:
    """What a pipeline folder says it holds.

    Raises:
        FileNotFoundError: It says nothing.
        ValueError: Its index is damaged.
    """
    if not (folder / INDEX_FILE).is_file():
        raise FileNotFoundError(f"no `{INDEX_FILE}` in `{folder}`")
    return read_object(folder / INDEX_FILE)


def load_component(kind: type[Any], folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    """One component from its `config.json` and safetensors files, every key matched."""
    config = read_object(folder / "config.json")
    try:
        with init_empty_weights(include_buffers=False):
            component = kind.from_config(config)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"`{folder / 'config.json'}` does not describe a `{kind.__name__}`: {error}"
        ) from error
    return fill_component(component, read_weights(folder), dtype, str(folder))


def fill_component(
    component: Any, weights: dict[str, Tensor], dtype: torch.dtype, source: str
) -> Any:
    """Put weights into a component whose parameters are on the meta device.

    Args:
        component: A diffusers model.
        weights: By key, in the layout of the component; taken over.
        dtype: Of the parameters, all but those the component keeps in float32.
        source: Named in the error.

    Raises:
        ValueError: A key or a shape does not fit.
    """
    kept = component._keep_in_fp32_modules or ()
    for key, value in weights.items():
        keep = any(word in key.split(".") for word in kept)
        weights[key] = value.to(torch.float32 if keep else dtype)
    try:
        component.load_state_dict(weights, strict=True, assign=True)
    except RuntimeError as error:
        raise ValueError(
            f"the weights in `{source}` do not fit its configuration: {error}"
        ) from error
    return component.eval()


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of a component folder, of one safetensors file or of several with an index.

    Raises:
        FileNotFoundError: The folder has no such file, or a file of the index is missing.
        ValueError: A file is damaged, or the index names no files beside it.
    """
    index_file = folder / f"{WEIGHTS_FILE}.index.json"
    names = [WEIGHTS_FILE]
    if index_file.is_file():
        names = _shards(index_file)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(f"no `{missing[0]}` in `{folder}`")
    weights: dict[str, Tensor] = {}
    for name in names:
        weights.update(read_safetensors(folder / name))
    return weights


def _shards(index_file: Path) -> list[str]:
    """Names of the files that an index spreads the tensors over."""
    places = read_object(index_file).get("weight_map")
    names = list(places.values()) if isinstance(places, dict) else []
    if not names or not all(isinstance(name, str) and name == Path(name).name for name in names):
        raise ValueError(
            f"`{index_file}` is damaged: its `weight_map` does not name files beside it"
        )
    return sorted(set(names))


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ValueError: There is none, as after a copy that was cut off.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"`{path}` is damaged: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"`{path}` is damaged: it holds no object")
    return content


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of one file.

    Raises:
        ValueError: It is damaged, as after a copy that was cut off.
    """
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"`{path}` is damaged: {error}") from error
    return tensors


def weights_hash(folder: Path) -> str:
    """SHA-256 over all weight and configuration files of a pipeline folder, in name order."""
    digest = hashlib.sha256()
    for path in model_files(folder):
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
