import dataclasses
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from diffst_cli import run
from diffst_cli.app import main
from diffst_cli.job import SAMPLING, UpscaleJob

# Each option as a user gives it, and the field and value it means.
OPTIONS: list[tuple[list[str], str, Any]] = [
    (["--scale", "1.5"], "scale", Fraction(3, 2)),
    (["--size", "1920x1080"], "size", (1920, 1080)),
    (["--fps-x", "5/2"], "fps_x", Fraction(5, 2)),
    (["--fps", "59.94"], "fps", Fraction(60000, 1001)),
    (["--start", "1:02"], "start", Fraction(62)),
    (["--duration", "0.5"], "duration", Fraction(1, 2)),
    (["--model", "nano-sharp"], "model", "nano-sharp"),
    (["--device", "cuda:1"], "device", "cuda:1"),
    (["--devices", "0,cuda:1"], "devices", ("cuda:0", "cuda:1")),
    (["--devices", "cpu:2"], "devices", ("cpu", "cpu")),
    (["--ray", "10.0.0.1:6379"], "ray", "10.0.0.1:6379"),
    (["--precision", "bf16"], "precision", "bf16"),
    (["--decoder", "tiny"], "decoder", "tiny"),
    (["--vram-limit", "7.5"], "vram_limit", Fraction(15, 2)),
    (["--steps", "9"], "steps", 9),
    (["--guidance", "2.5"], "guidance", 2.5),
    (["--prompt", "a cat"], "prompt", "a cat"),
    (["--seed", "7"], "seed", 7),
    (["--windows", "cut"], "windows", "cut"),
    (["--codec", "hevc"], "codec", "hevc"),
    (["--crf", "18.5"], "crf", 18.5),
    (["--preset", "slow"], "preset", "slow"),
    (["--overwrite"], "overwrite", True),
    (["--restart"], "restart", True),
    (["--work-folder", "."], "work_folder", Path()),
]


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[UpscaleJob]:
    """The jobs that commands would run."""
    seen: list[UpscaleJob] = []

    def remember(job: UpscaleJob, **_: object) -> None:
        seen.append(job)
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "run_job", remember)
    return seen


@pytest.mark.parametrize(("words", "field", "value"), OPTIONS)
def test_an_option_sets_its_field_and_no_other(
    words: list[str], field: str, value: Any, jobs: list[UpscaleJob]
):
    needed = {"model": "star-light"} if field in SAMPLING else {}
    if field == "decoder":
        needed = {"model": "wan-1.3b"}
    chosen = [part for name, given in needed.items() for part in (f"--{name}", given)]
    assert main(["upscale", "a.mp4", "b.mp4", *words, *chosen]) == 130
    expected: dict[str, Any] = {field: value, **needed}
    assert jobs == [UpscaleJob(input=Path("a.mp4"), output=Path("b.mp4"), **expected)]


@pytest.mark.parametrize(
    "line", [["upscale", "a.mp4", "b.mp4"], ["plan", "a.mp4"], ["batch", "a", "b"]]
)
def test_a_work_folder_that_is_none_is_refused_at_once(
    line: list[str], jobs: list[UpscaleJob], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "missing"):
        assert main([*line, "--work-folder", str(place)]) == 2
        assert f"error: `--work-folder` is `{place}`, which is no folder" in capsys.readouterr().err
    assert jobs == []


def test_every_field_has_its_option():
    fields = {field.name for field in dataclasses.fields(UpscaleJob)}
    assert {field for _, field, _ in OPTIONS} == fields - {"input", "output", "output_is_folder"}


def test_a_slash_at_its_end_makes_the_output_a_folder(jobs: list[UpscaleJob]):
    assert main(["upscale", "a.mp4", "out/shot_v1.0/"]) == 130
    assert main(["upscale", "a.mp4", "out/shot_v1.0"]) == 130
    assert [job.output for job in jobs] == [Path("out/shot_v1.0")] * 2
    assert [job.output_is_folder for job in jobs] == [True, False]


@pytest.mark.parametrize(
    ("held", "name", "given", "sentence"),
    [
        ("StarPipeline", "star-light", ["--steps", "900"], "`--steps` is `900`; it takes 1 to 899"),
        (
            "StarCogVideoXPipeline",
            "star-cogvideox",
            ["--steps", "1001"],
            "`--steps` is `1001`; it takes 1 to 1000",
        ),
        ("StarCogVideoXPipeline", "star-cogvideox", ["--windows", "fade"], "without windows"),
    ],
)
def test_what_this_star_cannot_be_told_is_a_wrong_command_line(
    held: str,
    name: str,
    given: list[str],
    sentence: str,
    jobs: list[UpscaleJob],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": held}))
    for model in (name, str(tmp_path)):
        assert main(["upscale", "a.mp4", "b.mp4", "--model", model, *given]) == 2
        said = capsys.readouterr().err
        assert f"error: `{given[0]}` is" in said
        assert sentence in said
        assert main(["upscale", "a.mp4", "b.mp4", "--model", model, "--steps", "899"]) == 130
    assert len(jobs) == 2
