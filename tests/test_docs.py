"""The documents say what the program does."""

import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest

from docs.make_reference import REFERENCE, render

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
OUTSIDE = {
    "--dry-run",
    "--report",
    "--exclude-editable",
    "--data",
    "--num-synthetic",
    "--validation",
    "--head",
    "--num-cpus",
    "--nproc-per-node",
}  # pip, prepare, ray, torchrun


def test_reference_is_what_the_command_line_says():
    assert REFERENCE.read_text(encoding="utf-8") == render(), "run `make reference`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_named_exists(page: Path):
    reference = render()
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", page.read_text(encoding="utf-8")))
    assert {option for option in named - OUTSIDE if f"`{option}" not in reference} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page: Path):
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_guide_lists_the_keys_of_a_training_file():
    from diffst.training.config import TrainConfig

    table = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8").partition("| key | |")[2]
    named = re.findall(
        r"`(\w+)`", "".join(line.split("|")[1] for line in table.splitlines() if line)
    )
    assert sorted(named) == sorted(field.name for field in fields(TrainConfig))


def test_the_page_about_star_names_the_keys_of_its_training_file():
    from diffst.star.training.config import StarTrainConfig

    text = (ROOT / "docs" / "star.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+)(?: = [^`]*)?`|^(\w+) = ", text, re.MULTILINE))
    missing = {field.name for field in fields(StarTrainConfig)} - {a or b for a, b in named}
    assert missing == set()


def test_example_of_the_library_runs():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "guide.md").read_text(), re.DOTALL)
    assert len(blocks) == 1
    names: dict[str, object] = {}
    exec(blocks[0], names)
    assert tuple(getattr(names["larger"], "shape", ())) == (2, 3, 360, 640)


def test_the_files_on_a_frames_journey_exist():
    text = (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w/]+\.py)`", text))
    homes = (ROOT / "diffst_cli", ROOT / "models" / "diffst")
    assert len(named) > 20
    assert {name for name in named if not any((home / name).exists() for home in homes)} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_into_a_page_leads_to_a_heading(page: Path):
    links = re.findall(r"\]\(([^):]*)#([^)]+)\)", page.read_text(encoding="utf-8"))
    for name, anchor in links:
        text = ((page.parent / name) if name else page).read_text(encoding="utf-8")
        headings = re.findall(r"^#+ (.*)", text, re.MULTILINE)
        assert anchor in [re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings]


def blocks(page: str) -> str:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))


COMMANDS = [line for line in blocks("performance.md").splitlines() if line.startswith("diffst ")]


@pytest.mark.parametrize("line", COMMANDS, ids=range(len(COMMANDS)))
def test_the_commands_for_a_gpu_would_run(
    line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """As far as the first step that needs the GPU."""
    from diffst_cli import benchmark, model_benchmark, model_comparison, run
    from diffst_cli.app import main

    class Reached(BaseException):
        pass

    def reached(*_: object, **__: object) -> None:
        raise Reached

    monkeypatch.chdir(tmp_path)
    (tmp_path / "random").mkdir()  # as one of the commands does
    (tmp_path / "random" / "model_index.json").write_text("{}", encoding="utf-8")
    monkeypatch.setattr(model_benchmark, "choose_place", lambda job: (job.device, job.precision))
    monkeypatch.setattr(model_comparison, "choose_place", lambda job: (job.device, job.precision))
    for module in (model_benchmark, model_comparison):
        monkeypatch.setattr(module, "random_pipeline", reached)
    monkeypatch.setattr(benchmark, "measure", reached)
    monkeypatch.setattr(run, "run_job", reached)
    with pytest.raises(Reached):
        main(shlex.split(line)[1:])


def test_every_lever_has_a_command():
    from diffst.wan.levers import Levers

    named = {line.partition("--levers ")[2].partition(" ")[0] for line in COMMANDS}
    assert named >= {*Levers.names(), "stock"}


def test_the_pages_tests_are_there():
    text = (ROOT / "docs" / "wan.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", text)
    assert len(named) > 30
    for file, test in named:
        folder = ROOT / "tests" / ("" if "/" in file else "diffst/wan")
        assert f"def {test}(" in (folder / file).read_text(encoding="utf-8"), test
