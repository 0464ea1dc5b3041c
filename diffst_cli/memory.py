"""How much memory this process holds, held, and keeps, and what a tree of processes holds."""

from __future__ import annotations

import ctypes
import resource
import sys
from pathlib import Path

# glibc's <malloc.h>: parameters of mallopt.
TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
KEPT_BYTES = 512 * 2**20  # of freed memory
MAPPED_FROM = 32 * 2**20  # bytes of one allocation, the most that glibc takes

# Linux. Its `ru_maxrss` would count what the program before `exec` held, too.
STATUS = Path("/proc/self/status")


def resident_bytes() -> int:
    """Bytes of memory this process holds now, without its ffmpeg processes."""
    import psutil  # some ms to import; not needed for `--help`

    return int(psutil.Process().memory_info().rss)


def tree_bytes(pid: int) -> int:
    """Bytes that a process and all below it hold now, 0 once it is gone.

    What they share is counted for each of them, so this is never too small.
    """
    import psutil

    try:
        root = psutil.Process(pid)
        members = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    total = 0
    for member in members:
        try:
            total += int(member.memory_info().rss)
        except psutil.NoSuchProcess:
            continue  # it ended since it was listed
    return total


def peak_bytes() -> int:
    """The most bytes this process ever held, without its ffmpeg processes."""
    try:
        lines = STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        lines = []
    kilobytes = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    if kilobytes:
        return kilobytes[0] * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def keep_freed_memory() -> None:
    """Have the C library keep the memory of one picture for the next, where it is glibc; elsewhere nothing changes.

    As it comes, glibc hands every few megabytes back to the system and is given them anew, page by page and zeroed,
    hundreds of times a second. That took a tenth of nano's time.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return
    # One arena, since those of further threads give memory back whatever they are told.
    mallopt(ARENA_MAX, 1)
    mallopt(MMAP_THRESHOLD, MAPPED_FROM)
    mallopt(TRIM_THRESHOLD, KEPT_BYTES)
