"""diffst: one-step diffusion space-time video super-resolution, as a library.

`DiffSTPipeline` takes one clip and gives one clip; `load_model` gives what the command line uses; `__version__` is that
of the installed package. All are looked up on first use, so that importing the package costs nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffst.pipeline import DiffSTPipeline
    from diffst.upscaler import load_model

    __version__: str

__all__ = ["DiffSTPipeline", "__version__", "load_model"]


def __getattr__(name: str) -> Any:
    if name == "DiffSTPipeline":
        from diffst.pipeline import DiffSTPipeline

        return DiffSTPipeline
    if name == "load_model":
        from diffst.upscaler import load_model

        return load_model
    if name == "__version__":
        from importlib.metadata import version

        return version("diffst")
    raise AttributeError(f"module `diffst` has no attribute `{name}`")
