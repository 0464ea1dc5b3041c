"""Figures in words that people read."""

from __future__ import annotations


def gigabytes(count: float) -> str:
    """Bytes as `1.2 GB`, or `345 MB` below one, or `12 kB` below one of these."""
    if count >= 1e9:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
