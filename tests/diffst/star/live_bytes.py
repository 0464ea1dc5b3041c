"""Counts what a call holds at once, tensor by tensor, without computing it: everything is on torch's meta device."""

from collections.abc import Callable, Iterable
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Bytes of all tensors that came into being and are still there; `peak` is the most there were."""

    def __init__(self, weights: Iterable[Tensor]) -> None:
        super().__init__()
        self.weights = {weight.untyped_storage()._cdata for weight in weights}  # not counted
        self.live: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        self.live = {key: held for key, held in self.live.items() if not held[0].expired()}
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self.weights:
                    self.live[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self.peak = max(self.peak, sum(size for _, size in self.live.values()))
        return made


def attention(query: Tensor, *_: Any, **__: Any) -> Tensor:
    """What a GPU's kernels hold of an attention: its result, not the scores of all pairs."""
    return torch.empty_like(query)


def peak_bytes(call: Callable[[], object], weights: Iterable[Tensor]) -> int:
    """The most that a call on meta tensors holds at once beside its weights."""
    with (
        torch.inference_mode(),
        patch.object(F, "scaled_dot_product_attention", attention),
        LiveBytes(weights) as counted,
    ):
        call()
    return counted.peak
