"""The meta device in a GPU's place: it computes nothing, but knows each tensor's shape, type and place."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.diffst.wan.live_memory import LiveMemory

GPU = torch.device("meta")
COPY_OVER = torch.ops.aten.copy_.default
READ = (torch.ops.aten.item, torch.ops.aten._local_scalar_dense)
COPY = torch.ops.aten._to_copy.default


class StandInGpu(TorchDispatchMode):
    """Inside, tensors of both places meet in copies alone, as on a real one; what comes from it is zeros."""

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        options = options or {}
        if (
            function.overloadpacket is torch.ops.aten.to
        ):  # not yet taken apart, as in inference mode
            with self:
                return function.decompose(*arguments, **options)
        if function in (COPY, COPY_OVER):
            return copied(function, *arguments, **options)
        if function.overloadpacket in READ and arguments[0].is_meta:
            return 0
        given = tree_leaves((arguments, options))
        places = {leaf.device.type for leaf in given if isinstance(leaf, Tensor) and leaf.dim()}
        if len(places) > 1:
            raise RuntimeError(f"{function} of tensors in {sorted(places)}")
        return function(*arguments, **options)


def copied(function: Any, first: Tensor, *rest: Any, **options: Any) -> Tensor:
    """A copy, also from the stand-in to main memory."""
    to_host = function is COPY and first.is_meta and options.get("device") == torch.device("cpu")
    if to_host:
        return torch.zeros(first.shape, dtype=options.get("dtype") or first.dtype)
    if function is COPY_OVER and rest[0].is_meta and not first.is_meta:
        return first.zero_()
    made: Tensor = function(first, *rest, **options)
    return made


class MemoryOf(LiveMemory):
    """As `LiveMemory`, of one place alone: "meta" or "cpu". Entered before the stand-in."""

    def __init__(self, place: str, *weights: nn.Module) -> None:
        """Count no views of these weights."""
        super().__init__()
        self.place = place
        self.weights = {
            tensor.untyped_storage()._cdata
            for module in weights
            for tensor in (*module.parameters(), *module.buffers())
        }

    def _note(self, storage: Any) -> None:
        if storage.device.type == self.place and storage._cdata not in self.weights:
            super()._note(storage)
