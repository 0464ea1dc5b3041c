"""Timecode: the label that recorders give a file's first frame, for a part of it and at another rate."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction

TIMECODE = "timecode"  # the tag; in MOV and MP4 a track
HOLDS_TIMECODE = ("mov", "mp4", "matroska", "webm")  # FFmpeg's muxers
LABEL = re.compile(r"(\d\d):([0-5]\d):([0-5]\d)([:;.])(\d{2,3})")
MAX_FRAMES = 240  # a second: a track counts them in a byte
DROPPED_PER_MINUTE = {30: 2, 60: 4, 120: 8}
"""Labels that a drop-frame clock leaves out, by frames a second: none every tenth minute (SMPTE ST 12-1)."""


def find_timecode(tags: Mapping[str, str]) -> str | None:
    """The label among a file's or a stream's tags; None without one that can be read."""
    stated = next((value for name, value in tags.items() if name.lower() == TIMECODE), "")
    return stated if LABEL.fullmatch(stated) else None


def lost_timecode(before: Mapping[str, str], after: Mapping[str, str], container: str) -> list[str]:
    """One sentence where a container that could hold a label got none."""
    had, has = (TIMECODE in map(str.lower, tags) for tags in (before, after))
    if not had or has or container not in HOLDS_TIMECODE:
        return []
    return [
        f"`{TIMECODE}` left out: it labels frames of a constant rate, 1 to {MAX_FRAMES} a second, as HH:MM:SS:FF"
    ]


def move_timecode(label: str, rate: Fraction, skipped: Fraction, new_rate: Fraction) -> str | None:
    """The label of a part's first frame at another rate; the same moment of the day, to the nearest frame.

    Args:
        label: `HH:MM:SS:FF` of the whole's first frame, `HH:MM:SS;FF` if its clock drops labels.
        rate: Frames a second that `label` counts; 29.97 are labelled as 30.
        skipped: Seconds between the two frames.
        new_rate: Frames a second that the new label counts.

    Returns:
        The label; None where either rate is one that no label counts.
    """
    found = LABEL.fullmatch(label)
    if (
        found is None
        or not 1 <= round(rate) <= MAX_FRAMES
        or not 1 <= round(new_rate) <= MAX_FRAMES
    ):
        return None
    hours, minutes, seconds, frames = (int(found[part]) for part in (1, 2, 3, 5))
    per_second, drops = round(rate), found[4] != ":"
    minutes += 60 * hours
    number = (60 * minutes + seconds) * per_second + frames
    if drops:
        number -= DROPPED_PER_MINUTE.get(per_second, 0) * (minutes - minutes // 10)
    return _write(round((number / rate + skipped) * new_rate), round(new_rate), drops)


def _write(number: int, per_second: int, drops: bool) -> str:
    """The label of frame `number` of a day."""
    dropped = DROPPED_PER_MINUTE.get(per_second, 0) if drops else 0
    if dropped:
        minute = 60 * per_second - dropped
        tens, rest = divmod(number, 10 * minute + dropped)
        number += dropped * (9 * tens + max(rest - dropped, 0) // minute)
    seconds, frame = divmod(number, per_second)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours % 24:02}:{minutes:02}:{seconds:02}{';' if dropped else ':'}{frame:02}"
