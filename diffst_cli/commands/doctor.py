"""`diffst doctor`: what this machine has and lacks, in plain words."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer


def doctor(
    json_output: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of text.")
    ] = False,
) -> int:
    """Say what this machine has and lacks for upscaling; exit code 1 if it cannot work."""
    from diffst_cli.doctor import examine, report

    findings = examine()
    works = all(finding.ok for finding in findings)
    if json_output:
        typer.echo(
            json.dumps(
                {"works": works, "findings": [asdict(found) for found in findings]}, indent=1
            )
        )
    else:
        typer.echo(report(findings))
        typer.echo("diffst can upscale here" if works else "diffst cannot upscale here yet")
    return 0 if works else 1
