"""How much memory this process holds."""

from __future__ import annotations


def resident_bytes() -> int:
    """Bytes of memory this process holds now, without its ffmpeg processes."""
    import psutil  # some ms to import; not needed for `--help`

    return int(psutil.Process().memory_info().rss)


class PeakMemory:
    """The most memory this process was seen to hold."""

    def __init__(self) -> None:
        self.bytes = resident_bytes()

    def look(self) -> None:
        """Notes what it holds now."""
        self.bytes = max(self.bytes, resident_bytes())
