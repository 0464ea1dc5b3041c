"""The shards of a list of clips: several made at once, going on where it was stopped."""

from __future__ import annotations

from pathlib import Path

from diffst.wan.training.manifest import Clip, header, to_line, write_manifest
from diffst.wan.training.shards import (
    LIST_NAME,
    listed_clips,
    older_files,
    plan_shards,
    write_shard,
)
from diffst_cli.dataset.listing import Note
from diffst_cli.errors import UserError
from diffst_cli.many import each_done


def make_shards(
    clips: list[Clip], folder: Path, clips_per_shard: int, *, num_workers: int, note: Note
) -> int:
    """Write all shards of the accepted clips, then the list of the whole folder; bytes of the shards.

    Shards that were begun there with another list are named when these are done.

    Raises:
        UserError: A clip cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards = plan_shards(clips, folder, clips_per_shard)
    waiting = [shard for shard in shards if not shard[0].with_suffix(".jsonl").is_file()]
    if len(waiting) < len(shards):
        note(f"going on: {len(shards) - len(waiting)} of {len(shards)} shards are done")
    try:
        for number, _ in enumerate(each_done(write_shard, waiting, num_workers), start=1):
            note(f"{len(shards) - len(waiting) + number} of {len(shards)} shards")
    except ValueError as error:
        raise UserError(
            str(error), hint="if the file changed since the list was made, scan it again"
        ) from error
    paths = [path for path, _ in shards]
    left = older_files(folder, paths)
    if left:  # they may be somebody else's, so they stay
        reason = "seems to be of another list or another `--clips-per-shard`, and is not used"
        note(f"`{left[0]}` {f'and {len(left) - 1} more like it ' if left[1:] else ''}{reason}")
    lines = (to_line(clip, folder) for clip in listed_clips(paths))
    write_manifest(folder / LIST_NAME, header({}), lines)
    return sum(path.stat().st_size for path in paths)
