"""Published `.pt` files, read without running anything in them."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch


def new_array(core: str) -> Callable[..., Any]:
    """Numpy's own maker of an empty array, by the name that it has in files: `core` in numpy 1, `_core` in numpy 2."""
    make: Any = np.zeros(0).__reduce__()[0]

    def _reconstruct(*arguments: Any) -> Any:
        return make(*arguments)

    _reconstruct.__module__, _reconstruct.__qualname__ = f"numpy.{core}.multiarray", "_reconstruct"
    return _reconstruct


# Beside tensors a training run leaves the state of numpy's random numbers in its file: an array of whole numbers.
ARRAY_PARTS: list[Any] = [
    np.ndarray,
    np.dtype,
    np.dtypes.UInt32DType,
    new_array("core"),
    new_array("_core"),
]


def read_pickled(path: Path) -> Any:
    """What a `.pt` file holds, its tensors on the CPU.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, or it holds more than tensors and plain values.
    """
    try:
        # Tensors stay on the disk until they are used; only the newer, zipped kind can do that.
        mapped = zipfile.is_zipfile(path)
        with torch.serialization.safe_globals(ARRAY_PARTS):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except FileNotFoundError:
        raise
    except Exception as error:  # it raises what it meets: EOFError, RuntimeError, UnpicklingError
        raise ValueError(
            f"`{path}` is damaged, or holds more than weights, which is not read"
        ) from error
