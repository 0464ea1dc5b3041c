"""`diffst preview`: a few telling seconds, before and after."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffst_cli.commands.options import JobMaker, QuietOption, takes_job_options

DEFAULT_OUTPUT = Path("preview.mp4")


@takes_job_options
def preview(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="Video to look at.")],
    make_job: JobMaker,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="MP4 file to write.")
    ] = DEFAULT_OUTPUT,
    stills: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Also write a picture of each moment, as PNG."),
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Show what `upscale` would make of about six telling seconds, beside plain enlargement.

    The seconds are chosen from the whole video: a cut, fast motion, text, darkness, fine detail.
    """
    from diffst_cli.preview.render import make_preview
    from diffst_cli.progress import print_note, reporter

    job = make_job(source, output)
    made = make_preview(job, reporter(quiet=quiet), stills=stills)
    if quiet:
        return
    width, height = made.size
    print_note(f"wrote `{made.path}`, {width}x{height}")
    for when, reason in made.moments:
        print_note(f"  {when}  {reason}")
    if stills is not None:
        print_note(f"  {len(made.stills)} stills in `{stills}`")
