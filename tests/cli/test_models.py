import json
from dataclasses import replace
from pathlib import Path

import pytest

from diffst.upscaler import ModelCard
from diffst_cli.app import main
from diffst_cli.commands.models import describe
from diffst_cli.doctor import examine
from diffst_cli.weights import HASHES_FILE, problem_with, published_hash


@pytest.fixture
def card(tmp_path: Path) -> ModelCard:
    """A model whose files are as published."""
    (tmp_path / HASHES_FILE).write_text("ab12  other\ncd34  tiny\n")
    return ModelCard(
        name="tiny",
        description="a model for tests",
        licence="CC0-1.0",
        installed=True,
        path=tmp_path / "tiny",
        size_bytes=1_500_000,
        num_parameters=340_000,
        sha256="cd34",
    )


@pytest.fixture
def models(card: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[ModelCard]:
    """The table of models, which a test may change; nothing is fetched."""
    monkeypatch.setenv("DIFFST_MODELS", str(tmp_path / "fetched"))
    table = [card]
    monkeypatch.setattr("diffst.upscaler.list_models", lambda: table)
    return table


def test_models_in_this_checkout_are_as_published():
    from diffst.upscaler import list_models

    cards = list_models()
    assert {"nano", "nano-sharp"} <= {card.name for card in cards}
    for card in cards:
        assert card.sha256 == published_hash(card), "after changing nano's files run `make hashes`"


def test_changed_or_missing_files_are_a_problem(card: ModelCard):
    assert problem_with(card) is None
    changed = problem_with(replace(card, sha256="ef56"))
    assert changed == f"its files in `{card.path}` are not the published ones"
    missing = problem_with(replace(card, installed=False))
    assert missing == f"its files are missing from `{card.path}`"
    unknown = problem_with(replace(card, name="new"))
    assert unknown == f"no hash on record in `{card.path.parent / HASHES_FILE}`"


def test_card_is_told_in_two_lines(card: ModelCard):
    assert describe(card).splitlines() == [
        "tiny: installed, 1.5 MB, 0.34 million parameters, CC0-1.0",
        "  a model for tests",
    ]


def test_list_prints_cards_or_json(models: list[ModelCard], capsys: pytest.CaptureFixture[str]):
    assert main(["models", "list"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(describe(models[0]) + "\n")
    assert "wan-1.3b-base: not here" in printed
    assert main(["models", "list", "--json"]) == 0
    listed, *others = json.loads(capsys.readouterr().out)
    assert {tuple(sorted(other)) for other in others} == {tuple(sorted(listed))}
    assert listed["name"] == "tiny"
    assert listed["licence"] == "CC0-1.0"
    assert listed["path"] == str(models[0].path)


def test_path_prints_the_folder(models: list[ModelCard], capsys: pytest.CaptureFixture[str]):
    assert main(["models", "path", "tiny"]) == 0
    assert capsys.readouterr().out == f"{models[0].path}\n"


def test_path_of_an_unknown_model_is_a_usage_error(
    models: list[ModelCard], capsys: pytest.CaptureFixture[str]
):
    assert main(["models", "path", "huge"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "there is no model `huge`" in captured.err


def test_verify_fails_when_one_model_is_damaged(
    models: list[ModelCard], card: ModelCard, capsys: pytest.CaptureFixture[str]
):
    assert main(["models", "verify"]) == 0
    assert capsys.readouterr().out == "tiny: as published\n"
    models.append(replace(card, name="other", sha256="00"))
    assert main(["models", "verify"]) == 1
    assert "other: its files in" in capsys.readouterr().out


def test_doctor_calls_a_damaged_default_model_a_problem(models: list[ModelCard], card: ModelCard):
    models[0] = replace(card, name="nano")
    (finding,) = (finding for finding in examine() if finding.name == "model nano")
    assert finding.ok is False
    assert finding.hint == "install diffst again"
