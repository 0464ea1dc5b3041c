"""Any STAR model by its name or its folder, told how to sample; published files are converted on first use."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from diffst.folders import INDEX_FILE
from diffst.star.names import (
    COGVIDEOX_PIPELINE,
    PUBLISHED_FOLDER,
    STAR_MODELS,
    star_folder,
    star_pipeline,
)

if TYPE_CHECKING:
    from diffst.upscaler import UpscaleModel

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
    """What a model that samples may be told; None leaves it to the model."""

    num_steps: int | None = None
    """Of the sampler."""
    guidance: float | None = None
    """How strongly the prompt counts."""
    prompt: str | None = None
    """What the video shows."""
    seed: int | None = None
    """Of all noise."""
    windows: str | None = None
    """How windows of a long clip are joined, `fade` or `cut`; the CogVideoX-based STAR has none."""

    @property
    def settings(self) -> dict[str, float | str]:
        """Those given of what a STAR's settings hold, by name."""
        held = {
            "num_steps": self.num_steps,
            "guidance": self.guidance,
            "seed": self.seed,
            "windows": self.windows,
        }
        return {name: value for name, value in held.items() if value is not None}


def load_any_star(
    model: str, *, device: str = "auto", precision: str = "auto", sampling: Sampling | None = None
) -> UpscaleModel:
    """Load a STAR model.

    Args:
        model: A name in `STAR_MODELS`, or a folder.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        precision: "auto", "fp32", "bf16" or "fp16".
        sampling: How; None is as published.

    Raises:
        ValueError: No such device or precision, a setting is out of range, the files do not fit together, or the
            prompt needs a text encoder that is not there.
        FileNotFoundError: Files are missing.
    """
    told = sampling or Sampling()
    folder = ready_folder(model)
    if star_pipeline(model) == COGVIDEOX_PIPELINE:
        from diffst.star.cogvideox_pipeline import CogVideoXSettings
        from diffst.star.cogvideox_upscaler import load_star_cogvideox

        if told.windows is not None:
            raise ValueError(f"`{model}` sees clips as a whole, so there are no windows to join")
        return load_star_cogvideox(
            folder,
            name=model if model in STAR_MODELS else "",
            device=device,
            precision=precision,
            prompt=told.prompt or "",
            settings=CogVideoXSettings(**told.settings),  # type: ignore[arg-type]
        )
    from diffst.star.settings import StarSettings
    from diffst.star.upscaler import load_star

    return load_star(
        folder,
        name=model if model in STAR_MODELS else "",
        device=device,
        precision=precision,
        prompt=told.prompt,
        settings=StarSettings(**told.settings),  # type: ignore[arg-type]
    )


def ready_folder(model: str) -> Path:
    """A STAR model's pipeline folder, made of the published files first where it is not one yet.

    Args:
        model: A name in `STAR_MODELS`, or a folder.

    Raises:
        FileNotFoundError: Neither is there.
        ValueError: The files hold something else.
    """
    folder = star_folder(model)
    if star_pipeline(model) == COGVIDEOX_PIPELINE:
        from diffst.star.cogvideox_keys import convert_published as convert_cogvideox

        prepare(folder, "transformer", convert_cogvideox, COGVIDEOX_INDEX)
    else:
        from diffst.star.checkpoint import convert_published

        prepare(folder, "unet", convert_published, UNET_INDEX)
    return folder


UNET_INDEX = {
    "_class_name": "StarPipeline",
    "unet": ["diffst.star.network", "StarUNet"],
    "vae": ["diffusers", "AutoencoderKLTemporalDecoder"],
    "least_size": [720, 1280],
}
COGVIDEOX_INDEX = {
    "_class_name": COGVIDEOX_PIPELINE,
    "transformer": ["diffst.star.cogvideox", "StarCogVideoXTransformer"],
    "vae": ["diffusers", "AutoencoderKLCogVideoX"],
}


def prepare(
    folder: Path, part: str, convert: Callable[[Path, Path], None], index: Mapping[str, object]
) -> None:
    """Make a pipeline folder of a folder of published files, once; nothing where it is one.

    Several processes may ask at the same time: one converts, the others wait.

    Args:
        folder: Of the model, with the authors' one file in `published/`.
        part: The pipeline's component that it becomes.
        convert: Given the file and the component's folder.
        index: Content of `model_index.json`, which is written last.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It holds something else.
    """
    if (folder / INDEX_FILE).is_file():
        return
    published = sorted((folder / PUBLISHED_FOLDER).glob("*.pt"))
    if not published:
        raise FileNotFoundError(
            f"neither `{INDEX_FILE}` nor `{PUBLISHED_FOLDER}/*.pt` in `{folder}`"
        )
    with FileLock(folder / "converting.lock"):
        if (folder / INDEX_FILE).is_file():
            return
        log.info("converting `%s`, once", published[0])
        unfinished = folder / f"{part}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        convert(published[0], unfinished)
        shutil.rmtree(folder / part, ignore_errors=True)
        unfinished.rename(folder / part)
        unfinished_index = folder / f"{INDEX_FILE}.unfinished"
        unfinished_index.write_text(json.dumps(index, indent=1), encoding="utf-8")
        unfinished_index.rename(folder / INDEX_FILE)
