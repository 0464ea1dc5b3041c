"""What lets weights be spread over devices (FSDP): no weight is a single number, and whole ones can be had again."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.utils import parametrize


class Number(nn.Module):
    """A weight that is a number, kept as a vector of one: FSDP cuts along the first dimension, which a number lacks."""

    def forward(self, vector: Tensor) -> Tensor:
        """(1,) -> ()."""
        return vector.squeeze(0)

    def right_inverse(self, number: Tensor) -> Tensor:
        """() -> (1,)."""
        return number.unsqueeze(0)


def numbers_to_vectors(part: nn.Module) -> None:
    """Keep each weight of a part that is a number as a vector, in place; the part reads it as before."""
    for module in list(part.modules()):
        for name, value in list(module.named_parameters(recurse=False)):
            if value.ndim == 0:
                parametrize.register_parametrization(module, name, Number())


def vectors_to_numbers(part: nn.Module) -> None:
    """Undo `numbers_to_vectors`, in place; the weights stay as they are."""
    for module in list(part.modules()):
        if parametrize.is_parametrized(module):
            for name in list(cast(nn.ModuleDict, module.parametrizations)):
                parametrize.remove_parametrizations(module, name)


def plain_type(part: nn.Module) -> type[nn.Module]:
    """A part's class, whether its numbers are vectors or not."""
    return parametrize.type_before_parametrizations(part)


def whole(value: Tensor) -> Tensor:
    """A weight on the CPU, all of it and a copy; where devices hold a part each, all of them have to call it."""
    full = value.full_tensor() if isinstance(value, DTensor) else value
    return full.detach().to("cpu", copy=True)  # not twice from a GPU
