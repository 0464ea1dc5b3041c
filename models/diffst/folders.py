"""Where models lie: those in the package, and those that were downloaded."""

from __future__ import annotations

import errno
import os
from pathlib import Path

_WEIGHTS = Path(__file__).parent / "weights"
# In the package, by name.
EMBEDDED = {name: _WEIGHTS / name for name in ("nano", "nano-sharp")}
VARIABLE = "DIFFST_MODELS"  # names another folder


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
