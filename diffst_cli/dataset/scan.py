"""A video or picture to the clips in it, each with what was measured and why it is refused, if it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import cv2

from diffst.training.suffixes import IMAGE_SUFFIXES
from diffst.wan.training.manifest import Clip, Kind
from diffst.wan.training.sources import Picture, decode, read_facts, read_image
from diffst_cli.dataset.filters import SHARPNESS_EVERY, Filters
from diffst_cli.dataset.measures import (
    MOTION_WIDTH,
    FrameFacts,
    Grey,
    motion,
    repeats,
    sharpness,
    unevenness,
)
from diffst_cli.pixels import narrowed
from diffst_cli.shots import THUMBNAIL_HEIGHT, THUMBNAIL_WIDTH, CutDetector

MOTION_EVERY = 8  # frames
MOST_UNEVEN = 0.02  # of a clip's frames


def scan_file(path: Path, filters: Filters) -> list[Clip]:
    """The clips of one file; one that cannot be read gives a single refused clip which says why."""
    is_image = path.suffix.lower() in IMAGE_SUFFIXES
    try:
        return [scan_image(path, filters)] if is_image else scan_video(path, filters)
    except ValueError as error:
        reason = f"unreadable: {error}"
        kind: Kind = "image" if is_image else "video"
        return [Clip(path=path, kind=kind, width=0, height=0, num_frames=0, rejected=(reason,))]


def scan_image(path: Path, filters: Filters) -> Clip:
    """A picture, measured.

    Raises:
        ValueError: It cannot be read.
    """
    clip = Clip(path=path, kind="image", width=0, height=0)
    image = read_image(clip)
    height, width = image.shape[:2]
    measures = {"sharpness": round(sharpness(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)), 3)}
    clip = replace(clip, width=width, height=height, measures=measures)
    return replace(clip, rejected=(*_too_small(clip, filters), *_too_soft(clip, filters)))


def scan_video(path: Path, filters: Filters) -> list[Clip]:
    """The clips of a video.

    Raises:
        ValueError: It cannot be read to its end.
    """
    facts = read_facts(path)
    clip = Clip(
        path=path,
        kind="video",
        width=facts.width,
        height=facts.height,
        num_frames=0,
        frame_rate=facts.frame_rate or Fraction(0),
    )
    reasons = list(_too_small(clip, filters))
    if not clip.frame_rate or clip.frame_rate < filters.min_rate:  # or it is not known
        reasons.append(f"slow: {float(clip.frame_rate):.3g} frames a second")
    if facts.is_hdr:
        reasons.append("hdr: its brightness is PQ or HLG")
    if reasons:  # nothing that decoding could change
        return [replace(clip, rejected=tuple(reasons))]
    frames, starts, size, interlaced = _measured(path)
    clip = replace(clip, height=size[0], width=size[1])
    if interlaced:
        return [replace(clip, rejected=("interlaced: lines of two instants in a frame",))]
    return [
        _judged(clip, frames[start:stop], filters)
        for start, stop in pieces(starts, len(frames), filters.max_frames)
    ]


def pieces(starts: list[int], num_frames: int, longest: int) -> Iterator[tuple[int, int]]:
    """Frame ranges [start, stop) of the shots that begin at `starts`; too long ones in equal parts."""
    for start, stop in zip(starts, [*starts[1:], num_frames], strict=True):
        parts = -(-(stop - start) // longest)
        borders = [start + (stop - start) * part // parts for part in range(parts + 1)]
        yield from pairwise(borders)


def _measured(path: Path) -> tuple[list[FrameFacts], list[int], tuple[int, int], bool]:
    """Facts of every frame, the first frames of shots, the size upright, and whether frames are interlaced."""
    frames: list[FrameFacts] = []
    cuts: list[bool] = []
    detector = CutDetector()
    size, interlaced = (0, 0), False
    before: Grey | None = None
    for picture in decode(path):
        if picture.time is None:
            raise ValueError(f"frames of `{path}` do not say when they are shown")
        size, interlaced = picture.size, interlaced or picture.is_interlaced
        grey = picture.grey()
        small = narrowed(grey, MOTION_WIDTH)
        frames.append(_facts(picture, grey, before, small, len(frames)))
        cuts += detector.add(picture.rgb((THUMBNAIL_HEIGHT, THUMBNAIL_WIDTH)))
        before = small
    cuts += detector.finish()
    if not frames:
        raise ValueError(f"there are no frames in `{path}`")
    return frames, [index for index, is_first in enumerate(cuts) if is_first], size, interlaced


def _facts(
    picture: Picture, grey: Grey, before: Grey | None, small: Grey, index: int
) -> FrameFacts:
    if before is not None and before.shape != small.shape:
        raise ValueError("frames change their size on the way")
    moved = before is not None and index % MOTION_EVERY == MOTION_EVERY // 2
    return FrameFacts(
        time=picture.time or Fraction(0),
        change=0.0 if before is None else float(cv2.absdiff(small, before).mean()),
        sharpness=sharpness(grey) if index % SHARPNESS_EVERY == SHARPNESS_EVERY // 2 else None,
        motion=motion(before, small) if moved and before is not None else None,
    )


def _judged(whole: Clip, frames: list[FrameFacts], filters: Filters) -> Clip:
    """A run of a video's frames as a clip, with every reason against it."""
    changes = [frame.change for frame in frames[1:]]  # the first one's is a cut's
    times = [frame.time for frame in frames]
    sharp = [frame.sharpness for frame in frames if frame.sharpness is not None]
    moved = [frame.motion for frame in frames[1:] if frame.motion is not None]
    clip = replace(whole, start=frames[0].time, num_frames=len(frames))
    if len(frames) < filters.min_frames:
        return replace(clip, rejected=(f"short: frames {len(frames)}",))
    measures = {
        "sharpness": round(fmean(sharp), 3),
        "motion": round(fmean(moved), 3),
        "repeats": round(repeats(changes), 3),
        "uneven": round(unevenness(times), 3),
    }
    clip = replace(clip, measures=measures)
    reasons = [*_too_small(clip, filters), *_too_soft(clip, filters)]
    if measures["motion"] < filters.min_motion:
        reasons.append(f"still: motion of {measures['motion']} %")
    if measures["motion"] > filters.max_motion:
        reasons.append(f"wild: motion of {measures['motion']} %")
    if measures["repeats"] > filters.max_repeats:
        reasons.append(f"repeats: {measures['repeats']:.0%} of its frames")
    if measures["uneven"] > MOST_UNEVEN:
        reasons.append(f"uneven: {measures['uneven']:.0%} of its frames come at other times")
    return replace(clip, rejected=tuple(reasons))


def _too_small(clip: Clip, filters: Filters) -> Iterator[str]:
    if min(clip.width, clip.height) < filters.min_side:
        yield f"small: {clip.width}x{clip.height}"


def _too_soft(clip: Clip, filters: Filters) -> Iterator[str]:
    if clip.measures["sharpness"] < filters.min_sharpness:
        yield f"soft: sharpness {clip.measures['sharpness']}"
