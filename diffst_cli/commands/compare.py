"""`diffst compare`: videos side by side, in one page that opens anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffst_cli.commands.options import QuietOption
from diffst_cli.job import parse_seconds

DEFAULT_PAGE = Path("report.html")
DEFAULT_SECONDS = "20"
DEFAULT_MEGABYTES = 30
DEFAULT_SIDE = 1920


def compare(
    videos: Annotated[
        list[Path],
        typer.Argument(
            metavar="VIDEO...", help="The videos; the others are measured against the first."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Page to write.")
    ] = DEFAULT_PAGE,
    reference: Annotated[
        Path | None,
        typer.Option(
            metavar="VIDEO", help="The true video, which all others are measured against instead."
        ),
    ] = None,
    start: Annotated[
        str, typer.Option(metavar="TIME", help="Compare from here: seconds, or h:mm:ss.")
    ] = "0",
    duration: Annotated[
        str | None, typer.Option(metavar="TIME", help="Compare this much; all if not given.")
    ] = None,
    play: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Most that the page plays; of longer videos, what is around each moment.",
        ),
    ] = DEFAULT_SECONDS,
    max_size: Annotated[
        int, typer.Option(metavar="MB", help="About how large the page may be.")
    ] = DEFAULT_MEGABYTES,
    max_side: Annotated[
        int, typer.Option(metavar="PIXELS", help="Longest side at which videos are compared.")
    ] = DEFAULT_SIDE,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what exists.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Show videos side by side, and where they differ, in one page that needs no network.

    They may differ in size and rate: smaller ones are enlarged by lanczos, and frames are matched by
    time.
    """
    from diffst_cli.progress import print_note, reporter
    from diffst_cli.report.build import Comparison, build

    page = Comparison(
        videos=tuple(videos),
        output=output,
        reference=reference,
        start=parse_seconds(start, "--start"),
        duration=None if duration is None else parse_seconds(duration, "--duration"),
        play_seconds=parse_seconds(play, "--play"),
        max_megabytes=max_size,
        max_side=max_side,
        overwrite=overwrite,
    )
    for line in build(page, reporter(quiet=quiet)):
        if not quiet:
            print_note(line)
