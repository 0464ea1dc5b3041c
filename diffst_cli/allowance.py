"""What this process may use of the machine: cores and main memory, also where a container allows less than there is.

Containers are held by Linux's control groups, of version 2 or 1; elsewhere nothing but the machine limits.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

GROUPS = Path("/proc/self/cgroup")
ROOT = Path("/sys/fs/cgroup")


def num_cores() -> int:
    """CPU cores that this process may use, at least 1."""
    has_affinity = hasattr(os, "sched_getaffinity")  # not on macOS
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return max(1, min([cores, *map(math.ceil, _shares())]))


def main_memory() -> tuple[int, int]:
    """Bytes of main memory that are free for this process, and bytes that it and its like may take in all."""
    import psutil  # some ms to import; not needed for `--help`

    memory = psutil.virtual_memory()
    free, total = int(memory.available), int(memory.total)
    for folder in _folders("memory"):
        limit = _number(folder, "memory.max", "memory.limit_in_bytes")
        if limit is None:
            continue
        used = _number(folder, "memory.current", "memory.usage_in_bytes") or 0
        free = min(free, max(limit - used + _cached(folder), 0))
        total = min(total, limit)
    return free, total


def _shares() -> Iterator[float]:
    """Cores' worth of time that each group above this process may take."""
    for folder in _folders("cpu"):
        quota, _, period = _text(folder / "cpu.max").partition(" ")
        if not period:
            quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period) > 0:  # else `max`, or -1
            yield int(quota) / int(period)


def _folders(controller: str) -> Iterator[Path]:
    """Folders of the groups that this process is in, the innermost first; a container sees its own as the outermost."""
    for line in _text(GROUPS).splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if names and controller not in names.split(","):
            continue
        # Version 1 links a folder of several controllers to each one's name, whatever their order.
        root = ROOT / controller if names and (ROOT / controller).exists() else ROOT / names
        own = root / path.lstrip("/")
        yield own
        yield from (folder for folder in own.parents if folder.is_relative_to(root))


def _cached(folder: Path) -> int:
    """Bytes counted as used that hold files' content, given back as soon as they are wanted."""
    rows = (line.partition(" ") for line in _text(folder / "memory.stat").splitlines())
    values = {name: int(value) for name, _, value in rows if value.isdigit()}
    return values.get("total_inactive_file", values.get("inactive_file", 0))


def _number(folder: Path, *names: str) -> int | None:
    """What the first of these files that is there holds; None for none, or for no limit."""
    text = next((text for name in names if (text := _text(folder / name))), "")
    return int(text) if text.isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
