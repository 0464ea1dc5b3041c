"""`diffst dataset`: what a model of Wan's size is trained on, found in folders and packed into shards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from diffst_cli.allowance import num_cores
from diffst_cli.commands.options import QuietOption
from diffst_cli.dataset.filters import SHARPNESS_EVERY, Filters, media_in
from diffst_cli.errors import UsageError, UserError
from diffst_cli.report_files import check_report, is_stream
from diffst_cli.words import counted

app = typer.Typer(help="Find what is worth training on in folders of videos and pictures; pack it.")

DEFAULTS = Filters()
HINT_SCAN = "`diffst dataset scan FOLDER -o LIST` makes one"

WorkersOption = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Files worked on at once; one a core if not given."),
]


@app.command()
def scan(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="FOLDER...", help="Folders of videos and pictures, and all below."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="LIST", help="The list to write, JSON lines.")
    ],
    min_side: Annotated[
        int, typer.Option(min=1, help="Pixels of the shorter side, at least.")
    ] = DEFAULTS.min_side,
    min_frames: Annotated[
        int,
        typer.Option(min=SHARPNESS_EVERY + 1, help="Frames of a clip, at least; cuts end a clip."),
    ] = DEFAULTS.min_frames,
    max_frames: Annotated[
        int,
        typer.Option(
            min=2 * SHARPNESS_EVERY, help="Frames of a clip, at most; longer shots become several."
        ),
    ] = DEFAULTS.max_frames,
    min_rate: Annotated[
        float, typer.Option(min=0, help="Frames a second, at least.")
    ] = DEFAULTS.min_rate,
    min_sharpness: Annotated[
        float,
        typer.Option(
            min=0, help="Detail at full size: footage has 0.4 to 1, enlarged 0.2 to 0.35."
        ),
    ] = DEFAULTS.min_sharpness,
    min_motion: Annotated[
        float,
        typer.Option(
            min=0, help="Mean motion from frame to frame, percent of the width, at least."
        ),
    ] = DEFAULTS.min_motion,
    max_motion: Annotated[
        float, typer.Option(min=0, help="The same, at most.")
    ] = DEFAULTS.max_motion,
    max_repeats: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of frames that repeat the one before, at most."),
    ] = DEFAULTS.max_repeats,
    workers: WorkersOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace LIST.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Write a list of clips and pictures worth training on, and why the others are not.

    Called again after it was stopped, it goes on where it was.
    """
    filters = Filters(
        min_side=min_side,
        min_frames=min_frames,
        max_frames=max_frames,
        min_rate=min_rate,
        min_sharpness=min_sharpness,
        min_motion=min_motion,
        max_motion=max_motion,
        max_repeats=max_repeats,
    )
    files = _files(folders, output, overwrite=overwrite)
    from diffst_cli.dataset.listing import make_list, summary
    from diffst_cli.progress import print_note

    with _kept_when_interrupted():
        clips = make_list(
            files,
            output,
            filters,
            num_workers=workers or num_cores(),
            note=(lambda _: None) if quiet else print_note,
        )
    if all(clip.rejected for clip in clips):
        raise UserError(
            f"nothing in {counted(len(files), 'file')} is worth training on: {summary(clips)}",
            hint=f"`{output}` says why, file by file; the filters are options",
        )
    if not quiet:
        print_note(f"{summary(clips)}; the list is `{output}`")


@app.command()
def pack(
    clip_list: Annotated[Path, typer.Argument(metavar="LIST", help="What `dataset scan` wrote.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the shards.")
    ],
    clips_per_shard: Annotated[int, typer.Option(min=1, help="Of each tar file.")] = 64,
    workers: WorkersOption = None,
    quiet: QuietOption = False,
) -> None:
    """Copy the accepted clips of a list into tar files in WebDataset's layout, cut out and ready to read.

    Called again after it was stopped, it goes on where it was.
    """
    from diffst.wan.training.manifest import read_manifest
    from diffst.wan.training.shards import LIST_NAME
    from diffst_cli.dataset.shards import make_shards
    from diffst_cli.progress import print_note

    made = output / LIST_NAME
    if made.exists():
        raise UserError(f"`{output}` holds shards already", hint="choose another folder")
    try:
        clips = read_manifest(clip_list)
    except FileNotFoundError as error:
        raise UserError(str(error), hint=HINT_SCAN) from error
    except ValueError as error:
        raise UserError(str(error)) from error
    if all(clip.rejected for clip in clips):
        raise UserError(f"no clip in `{clip_list}` was accepted")
    with _kept_when_interrupted():
        made_bytes = make_shards(
            clips,
            output,
            clips_per_shard,
            num_workers=workers or num_cores(),
            note=(lambda _: None) if quiet else print_note,
        )
    if not quiet:
        print_note(f"{made_bytes / 1e6:.0f} MB; `data` of a training file is `{made}`")


def _files(folders: list[Path], output: Path, *, overwrite: bool) -> list[Path]:
    """What is to be looked at; raises UserError where there is nothing, or nowhere to write the list."""
    for folder in folders:
        if not folder.exists():
            raise UsageError(f"there is no file or folder `{folder}`")
    if is_stream(output):
        raise UsageError(f"`--output` is `{output}`, which is no file", hint="name a file")
    if output.is_file() and not overwrite:
        raise UserError(f"`{output}` exists", hint="`--overwrite` replaces it")
    check_report(output, "--output", may_be_stdout=False)
    files = media_in(folders)
    if not files:
        named = ", ".join(f"`{folder}`" for folder in folders)
        raise UserError(f"there are no videos or pictures in {named}")
    return files


@contextmanager
def _kept_when_interrupted() -> Iterator[None]:
    """Tell who stops the work that it is not lost."""
    from diffst_cli.progress import print_note

    try:
        yield
    except KeyboardInterrupt:
        print_note("what is done is kept; the same command goes on")
        raise
