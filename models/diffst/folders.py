"""Where models lie, those in the package and those that were downloaded; and what a model's folder holds.

Light: nothing of torch is imported.
"""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

_WEIGHTS = Path(__file__).parent / "weights"
# In the package, by name.
EMBEDDED = {name: _WEIGHTS / name for name in ("nano", "nano-sharp")}
VARIABLE = "DIFFST_MODELS"  # names another folder
INDEX_FILE = "model_index.json"  # of a pipeline's folder
MODEL_SUFFIXES = (".json", ".safetensors")


def models_folder() -> Path:
    """The folder of downloaded models: `$DIFFST_MODELS`, else `diffst/models` in the user's cache.

    Raises:
        FileNotFoundError: Nothing says where that is.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(cache) if cache else Path.home() / ".cache") / "diffst" / "models"
    except RuntimeError as error:
        why = "it is not set, and there is no home folder to keep models in"
        raise FileNotFoundError(errno.ENOENT, why, VARIABLE) from error


def model_folder(name: str) -> Path:
    """The folder of one downloaded model, whether it is there or not."""
    return models_folder() / name


def held_class(folder: Path) -> str | None:
    """The pipeline class that a folder says it holds; None where it says none, or cannot be read."""
    try:
        index = json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    held = index.get("_class_name") if isinstance(index, dict) else None
    return held if isinstance(held, str) else None


def model_files(folder: Path) -> list[Path]:
    """Configuration and weights in a folder and below it, in the order of their names."""
    return sorted(path for path in folder.rglob("*") if path.suffix in MODEL_SUFFIXES)
