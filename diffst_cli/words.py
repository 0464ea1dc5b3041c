"""Figures in words that people read."""

from __future__ import annotations

import re

CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")  # all but the end of a line
SLOWEST_RATE = 0.2  # frames a second that are told as such


def gigabytes(count: float) -> str:
    """Bytes as `1.2 GB`, or `345 MB` below one, or `12 kB` below one of these."""
    if count >= 1e9:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def speed(frames_per_second: float) -> str:
    """As `7.5 frames/s`, or `14 s a frame` where that would be all but nothing."""
    if 0 < frames_per_second < SLOWEST_RATE:
        return f"{1 / frames_per_second:.0f} s a frame"
    return f"{frames_per_second:.1f} frames/s"


def times(count: int) -> str:
    """As `once` or `3 times`."""
    return "once" if count == 1 else f"{count} times"


def counted(count: int, noun: str) -> str:
    """As `1 frame` or `3 frames`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def printable(text: str) -> str:
    """Text whose control characters are spelt out: a video's tags must not write to a terminal what they like."""
    return CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
