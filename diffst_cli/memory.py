"""How much memory this process holds, and held; its ffmpeg processes are not counted."""

from __future__ import annotations

from pathlib import Path

STATUS = Path("/proc/self/status")  # Linux


def resident_bytes() -> int:
    """Bytes of memory this process holds now."""
    import psutil  # some ms to import; not needed for `--help`

    return int(psutil.Process().memory_info().rss)


def peak_bytes() -> int:
    """The most bytes this process ever held; where the system does not tell, what it holds now."""
    try:
        lines = STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return resident_bytes()
    kilobytes = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return kilobytes[0] * 1024 if kilobytes else resident_bytes()
