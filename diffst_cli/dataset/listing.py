"""Folders to a list of clips: many files at once, going on where it was stopped."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from diffst.wan.training.manifest import Clip, from_line, header, to_line, write_manifest
from diffst_cli.dataset.filters import Filters
from diffst_cli.dataset.scan import scan_file
from diffst_cli.errors import UserError
from diffst_cli.many import each_done
from diffst_cli.words import counted

NOTE_SECONDS = 30.0  # between lines that say how far it is

Note = Callable[[str], None]


def make_list(
    files: list[Path], out: Path, filters: Filters, *, num_workers: int, note: Note
) -> list[Clip]:
    """Look at every file, write the list, and give its clips in the list's order.

    Until it is whole it is called `OUT.partial`; one that was stopped is gone on with.

    Raises:
        UserError: What is there was made with other filters, or a file ends the process that reads it.
    """
    unfinished = out.with_name(f"{out.name}.partial")
    head = header(filters.settings())
    clips = _finished(unfinished, head, out.parent)
    known = {clip.path.absolute() for clip in clips}
    waiting = [path for path in files if path.absolute() not in known]
    if known:
        note(f"going on: {len(files) - len(waiting)} of {len(files)} files are done")
    out.parent.mkdir(parents=True, exist_ok=True)
    # Replaced as a whole: what an earlier run found is on disk at every moment.
    write_manifest(unfinished, head, (to_line(clip, out.parent) for clip in clips))
    with unfinished.open("a", encoding="utf-8", errors="surrogateescape") as file:
        said = time.monotonic()
        calls = [(path, filters) for path in waiting]
        for number, found in enumerate(each_done(scan_file, calls, num_workers), start=1):
            clips += found
            file.write("".join(f"{to_line(clip, out.parent)}\n" for clip in found))
            file.flush()
            if time.monotonic() - said > NOTE_SECONDS:
                said = time.monotonic()
                note(f"{len(files) - len(waiting) + number} of {len(files)} files")
    asked = {path.absolute() for path in files}
    clips = [clip for clip in clips if clip.path.absolute() in asked]
    clips.sort(key=lambda clip: (str(clip.path), clip.start))  # not as the processes came back
    write_manifest(out, head, (to_line(clip, out.parent) for clip in clips))
    unfinished.unlink()
    return clips


def _finished(unfinished: Path, head: str, folder: Path) -> list[Clip]:
    """Clips that a stopped run found; those of its last file, which may lack some, are left out."""
    if not unfinished.is_file():
        return []
    text = unfinished.read_text(encoding="utf-8", errors="surrogateescape")
    # What follows the last line's end is broken off.
    first, *lines = text.split("\n")[:-1] or [head]
    if first != head:
        raise UserError(
            f"`{unfinished}` was begun with other filters",
            hint="give the same ones, or remove it to begin again",
        )
    try:
        clips = [from_line(line, folder) for line in lines]
    except ValueError as error:
        raise UserError(
            f"`{unfinished}` is damaged: {error}", hint="remove it to begin again"
        ) from error
    return [clip for clip in clips if clip.path != clips[-1].path]


def summary(clips: list[Clip]) -> str:
    """How much is accepted, and what was refused for which reasons."""
    good = [clip for clip in clips if not clip.rejected]
    videos = [clip for clip in good if clip.kind == "video"]
    minutes = float(sum(clip.num_frames / clip.frame_rate for clip in videos)) / 60
    reasons = Counter(reason.partition(":")[0] for clip in clips for reason in clip.rejected)
    said = ", ".join(f"{name} {number}" for name, number in reasons.most_common())
    return (
        f"accepted {counted(len(videos), 'clip')} ({minutes:.1f} min) and "
        f"{counted(len(good) - len(videos), 'picture')}; "
        f"rejected {len(clips) - len(good)}{f' ({said})' if said else ''}"
    )
