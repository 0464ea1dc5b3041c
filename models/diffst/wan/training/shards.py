"""A list of clips into shards: plain tar files in WebDataset's layout, with a list that says where each clip lies.

Sample NAME has two members: `NAME.mp4` (or the picture's own suffix) and `NAME.json`, so that the `webdataset` package
reads them too (tested). It is not used here: it reads a tar from the beginning, and leaves going on in the middle of an
epoch to its user (webdataset/webdataset#271). Here a clip is found by its place in bytes, so training reads any clip at
any time, and which one follows from the step's number; Python's `tarfile` writes all that this takes.

Source: the layout is that of the WebDataset project's documentation.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from diffst.training.suffixes import IMAGE_SUFFIXES
from diffst.wan.training.manifest import Clip, from_line, to_line
from diffst.wan.training.sources import packed, picture_bytes

LIST_NAME = "clips.jsonl"  # of the whole folder
SHARD_FILE = re.compile(r"[0-9a-f]{8}-\d{6}\.(tar|jsonl)(\.partial)?")  # a shard, or its own list
SHUFFLE_SEED = 0  # what is read in order is then mixed


def plan_shards(
    clips: list[Clip], folder: Path, clips_per_shard: int
) -> list[tuple[Path, list[Clip]]]:
    """Each shard's path and the clips that go into it: the accepted ones, shuffled, the same way each time.

    The paths name the clips' list and a shard's clips by their hash, so that shards of two lists, or of two lengths,
    are not mixed up.
    """
    good = [clip for clip in clips if not clip.rejected]
    lines = "\n".join([f"{clips_per_shard}", *(to_line(clip, folder) for clip in good)])
    name = hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    order = np.random.default_rng(SHUFFLE_SEED).permutation(len(good))
    mixed = [good[index] for index in order]
    return [
        (
            folder / f"{name}-{start // clips_per_shard:06d}.tar",
            mixed[start : start + clips_per_shard],
        )
        for start in range(0, len(mixed), clips_per_shard)
    ]


def older_files(folder: Path, shards: list[Path]) -> list[Path]:
    """What seems to be left in a folder of other shards than these, by their names alone."""
    ours = {path.stem for path in shards}
    return [
        path
        for path in sorted(folder.iterdir())
        if SHARD_FILE.fullmatch(path.name) and path.name.partition(".")[0] not in ours
    ]


def write_shard(path: Path, clips: list[Clip]) -> None:
    """Make one shard and, beside it, its list; one that is complete is left alone.

    Raises:
        ValueError: A clip cannot be read.
    """
    listed = path.with_suffix(".jsonl")
    if listed.is_file():  # written after the shard got its name
        return
    unfinished = path.with_name(f"{path.name}.partial")
    names = [f"{path.stem}-{number:04d}" for number in range(len(clips))]
    with tarfile.open(unfinished, "w") as tar:
        for name, clip in zip(names, clips, strict=True):
            _add_clip(tar, name, clip)
    with tarfile.open(unfinished) as tar:
        members = {Path(member.name).stem: member for member in tar if member.name[-5:] != ".json"}
    found = [
        replace(
            _alone(clip), path=path, offset=members[name].offset_data, num_bytes=members[name].size
        )
        for name, clip in zip(names, clips, strict=True)
    ]
    unfinished.rename(path)
    lines = "".join(f"{to_line(clip, path.parent)}\n" for clip in found)
    partial = listed.with_name(f"{listed.name}.partial")
    partial.write_text(lines, encoding="utf-8")
    partial.rename(listed)


def _alone(clip: Clip) -> Clip:
    """The clip as the only one of its file."""
    return replace(clip, start=Fraction(0))


def _add_clip(tar: tarfile.TarFile, name: str, clip: Clip) -> None:
    """Add a clip's two members; a list may be a stranger's, so nothing but what is a video or a picture."""
    is_video = clip.kind == "video"
    if not is_video and clip.offset is None and clip.path.suffix.lower() not in IMAGE_SUFFIXES:
        raise ValueError(f"cannot read `{clip.path}`: its name is not one of a picture")
    data = packed(clip) if is_video else picture_bytes(clip)
    facts = json.loads(to_line(_alone(clip), clip.path.parent))
    about = {key: facts[key] for key in facts if key not in ("path", "offset", "num_bytes")}
    suffix = ".mp4" if is_video else clip.path.suffix.lower()
    for ending, content in ((suffix, data), (".json", json.dumps(about).encode())):
        info = tarfile.TarInfo(f"{name}{ending}")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))


def listed_clips(shards: list[Path]) -> Iterator[Clip]:
    """The clips of finished shards, in order."""
    for path in shards:
        for line in path.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines():
            yield from_line(line, path.parent)
