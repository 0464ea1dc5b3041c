"""DiffST at the size of Wan2.1-T2V-1.3B.

Looked up on first use, so that importing the package costs nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffst.wan.build import build_random, parameter_counts
    from diffst.wan.pipeline import DiffSTWanPipeline

__all__ = ["DiffSTWanPipeline", "build_random", "parameter_counts"]


def __getattr__(name: str) -> Any:
    if name == "DiffSTWanPipeline":
        from diffst.wan.pipeline import DiffSTWanPipeline

        return DiffSTWanPipeline
    if name in ("build_random", "parameter_counts"):
        from diffst.wan import build

        return getattr(build, name)
    raise AttributeError(f"module `diffst.wan` has no attribute `{name}`")
