"""Pictures from a device to main memory while the device goes on working."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor


class HostCopies:
    """Copies to main memory, on a GPU on a stream of its own and into pinned memory, so that nobody waits for one.

    Args:
        device: Where the tensors come from.
    """

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def start(self, tensor: Tensor) -> Tensor:
        """The copy, whose values are there after `wait`; a tensor in main memory as it is."""
        if self.stream is None or not tensor.is_cuda:
            return tensor.cpu()
        copy = pinned(tensor)
        self.stream.wait_stream(torch.cuda.current_stream(tensor.device))
        with torch.cuda.stream(self.stream):
            copy.copy_(tensor, non_blocking=True)
        tensor.record_stream(self.stream)  # its memory is not given away before it is copied
        return copy

    def wait(self) -> None:
        """Until all copies begun are whole."""
        if self.stream is not None:
            self.stream.synchronize()


def in_main_memory(pieces: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
    """The pieces in main memory, each as soon as the next one's making was asked for, so that the device goes on."""
    copies, before = HostCopies(device), None
    for piece in pieces:
        copies.wait()
        copy = copies.start(piece)
        if before is not None:
            yield before
        before = copy
    copies.wait()
    if before is not None:
        yield before


def pinned(like: Tensor) -> Tensor:
    """A tensor of the same shape and type, not filled, in main memory that a GPU reads and writes by itself."""
    return torch.empty(like.shape, dtype=like.dtype, pin_memory=True)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on a device; to a GPU through pinned memory, so that nobody waits for the copy."""
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    waiting = pinned(tensor).copy_(tensor)
    return waiting.to(device, non_blocking=True)
