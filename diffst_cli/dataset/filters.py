"""Where training clips are looked for, and what a clip must be like."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from diffst.training.suffixes import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from diffst_cli.errors import UsageError

SHARPNESS_EVERY = 24  # frames; motion is measured more often, so a longer clip has both


@dataclass(frozen=True, kw_only=True)
class Filters:
    """What a clip must be like to be learnt from."""

    min_side: int = 720
    """Pixels, of the shorter side."""
    min_frames: int = 65
    """Of a clip; the longest window of 25 frames, one in eight of them kept, reads so many."""
    max_frames: int = 130
    """Of a clip; a longer shot becomes several."""
    min_rate: float = 23.0
    """Frames a second."""
    min_sharpness: float = 0.38
    """As `measures.sharpness` gives it; real footage has 0.4 to 1."""
    min_motion: float = 0.03
    """Percent of the width from frame to frame, on average."""
    max_motion: float = 3.0
    max_repeats: float = 0.1
    """Share of the frames that repeat the one before."""

    def __post_init__(self) -> None:
        if self.max_frames < 2 * self.min_frames:
            raise UsageError(
                f"`--max-frames` is at least twice `--min-frames`, so {2 * self.min_frames}",
                hint="a shot a little longer than the most is cut into two halves",
            )

    def settings(self) -> dict[str, float]:
        """By name."""
        return dict(asdict(self))


def media_in(folders: list[Path]) -> list[Path]:
    """All videos and pictures in folders and below, and files that are named themselves, in order, each once.

    Hidden ones, such as macOS's `._clip.mp4`, are taken only when they are named.
    """
    found: dict[Path, None] = {}
    for given in folders:
        inside = sorted(given.rglob("*")) if given.is_dir() else [given]
        for path in inside:
            hidden = any(part.startswith(".") for part in path.relative_to(given).parts)
            known = path.suffix.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES and not hidden
            if path.is_file() and (known or path == given):
                found[path] = None
    return list(found)
