import inspect
import json
from pathlib import Path

import pytest

from diffst_cli import model_benchmark, model_comparison
from diffst_cli.app import main
from diffst_cli.commands.benchmark import benchmark
from diffst_cli.model_comparison import BASELINE_STEPS, OURS, STOCK, TINY

WAYS = [STOCK, "stock, 2 steps", "stock, 5 steps", OURS, TINY]
TOY = ["benchmark", "--random-weights", "--model", "wan-1.3b", "--device", "cpu"]


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same classes at a size for tests, under a name of its own."""
    monkeypatch.setitem(model_benchmark.RANDOM_SIZES, "wan-1.3b", "tiny")
    monkeypatch.setattr(model_benchmark, "matrix_rate", lambda device, precision: 2e12)
    monkeypatch.setattr(model_comparison, "BASELINE_STEPS", (2, 5))


def test_the_baselines_are_the_ones_that_papers_take():
    parameter = inspect.signature(benchmark).parameters["compare"]
    assert "in 15 and 50 steps" in str(parameter.annotation)
    assert BASELINE_STEPS == (15, 50)


def test_every_way_is_measured_in_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "ways.json"
    asked = ["--size", "64x32", "--frames", "5", "--repeats", "1", "--precision", "fp32"]
    assert main([*TOY, *asked, "--compare", "--json", str(file)]) == 0
    written = json.loads(file.read_text())
    ways = written["ways"]
    assert list(ways) == WAYS
    assert [ways[name]["steps"] for name in WAYS] == [1, 2, 5, 1, 1]
    assert [ways[name]["decoder"] for name in WAYS] == ["full"] * 4 + ["tiny"]
    assert [bool(ways[name]["levers"]) for name in WAYS] == [False] * 3 + [True] * 2
    work = {name: ways[name]["stage_operations"] for name in WAYS}
    # A step of the baseline is two calls with 512 rows of text, where DiffST has its few guidance rows.
    assert work[WAYS[2]]["dit"] == pytest.approx(work[WAYS[1]]["dit"] / 2 * 5)
    assert work[WAYS[1]]["dit"] > 2 * 2 * work[STOCK]["dit"]
    assert work[WAYS[1]]["decode"] == work[STOCK]["decode"] > work[OURS]["decode"]
    assert "encode" not in ways[WAYS[1]]["stage_seconds"]
    assert ways[TINY]["parameters"]["codec"] != ways[OURS]["parameters"]["codec"]
    slowest = ways[WAYS[2]]["seconds"]["median"] / ways[OURS]["seconds"]["median"]
    assert written["times_ours"][WAYS[2]] == pytest.approx(slowest)
    assert written["times_ours"][OURS] == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("5 frames of 64x32, fp32 on cpu, random weights, each measured once")
    assert [line[:22].strip() for line in said[-5:]] == WAYS
    assert said[-4].split()[3] == "-"  # nothing to encode


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([*TOY, "--compare", "--decoder", "tiny"], "`--compare` measures both decoders"),
        (["benchmark", "--compare"], "`--compare` and `--levers` go with"),
        (["benchmark", "--levers", "stock"], "`--compare` and `--levers` go with"),
        ([*TOY, "--compare", "--levers", "fast"], "there is no lever `fast`"),
    ],
)
def test_wrong_words_are_usage_errors(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
):
    assert main(words) == 2
    assert sentence in capsys.readouterr().err
