"""docs/json.md names every field that a script may read."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from diffst_cli.app import main
from diffst_cli.run import run_job
from diffst_cli.summary import receipt_of
from tests.cli.test_run import job
from tests.fakes import BilinearModel
from tests.media import make_with_audio

PAGE = (Path(__file__).parents[2] / "docs" / "json.md").read_text(encoding="utf-8")
SECTIONS = {part.partition("\n")[0]: part for part in PAGE.split("\n## ")}
BY_NAME = {"stage_seconds"}  # whose keys are names of what was met


def fields(value: Any) -> set[str]:
    """All keys in it, at any depth."""
    if isinstance(value, list):
        return {name for item in value for name in fields(item)}
    if not isinstance(value, dict):
        return set()
    inside = [fields(item) for name, item in value.items() if name not in BY_NAME]
    return set(value).union(*inside)


def named(title: str) -> set[str]:
    """All fields that the section of this title names."""
    return set(re.findall(r"`(\w+)`", SECTIONS[title].partition("\n")[2]))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_with_audio(tmp_path / "in.mp4")


def test_fields_of_a_receipt(clip: Path, tmp_path: Path):
    summary = run_job(job(clip, tmp_path / "out.mp4"), model=BilinearModel())
    assert fields(receipt_of(summary)) - named("A receipt") == set()


@pytest.mark.parametrize(
    ("command", "title"),
    [
        ("plan {} --json -", "`plan --json FILE`"),
        ("doctor --json", "`doctor --json` and `models list --json`"),
        ("models list --json", "`doctor --json` and `models list --json`"),
    ],
)
def test_fields_of_a_command(
    command: str, title: str, clip: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(command.format(clip).split()) == 0
    printed = fields(json.loads(capsys.readouterr().out))
    assert printed
    assert printed - named(title) == set()
