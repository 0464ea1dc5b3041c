"""How much memory a device has to give now, and how to give back what a failed attempt took."""

from __future__ import annotations

from diffst_cli.allowance import main_memory

GIGABYTE = 10**9


def free_bytes(device: str) -> int:
    """Bytes that this process could take on a torch device in all; more of main memory for `cpu` and `mps`.

    What torch holds of a GPU is counted: the model itself, and what an earlier job of a batch left.
    """
    if device.startswith("cuda"):
        import torch

        free, _ = torch.cuda.mem_get_info(torch.device(device))
        return int(free) + torch.cuda.memory_reserved(torch.device(device))
    return main_memory()[0]


def limit_device(device: str, limit_bytes: int | None) -> None:
    """Let torch take no more of a GPU than this; more is an out-of-memory error. Nothing on the CPU."""
    if limit_bytes is None or not device.startswith("cuda"):
        return
    import torch

    place = torch.device(device)
    _, total = torch.cuda.mem_get_info(place)
    share = min(limit_bytes / total, 1.0)
    # Unlike its neighbours this function takes no device without a number.
    torch.cuda.set_per_process_memory_fraction(share, place.index)


def give_back() -> None:
    """Return to the system what torch and Python hold without using it."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
