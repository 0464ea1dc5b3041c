import json
import re
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from diffst import wan
from diffst.star import cogvideox_upscaler
from diffst.star.settings import StarSettings
from diffst.star.upscaler import rules_of
from diffst.upscaler import PRECISIONS, choose_precision
from diffst.wan.upscaler import WanUpscaler
from diffst_cli import plan as planning
from diffst_cli import planner
from diffst_cli.app import main
from diffst_cli.forecast import COMPUTED, MEASURED, UNKNOWN
from diffst_cli.job import UpscaleJob
from diffst_cli.plan import large_rules, make_plan
from diffst_cli.planner import RunPlan
from diffst_cli.run import run_job
from tests.cli.test_run import Notes
from tests.fakes import BilinearModel
from tests.media import make_with_audio


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return make_with_audio(tmp_path / "in.mp4")


@pytest.fixture(autouse=True)
def quick_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of nano, and 8 GB of free memory, whatever this machine has."""
    monkeypatch.setattr(planning, "open_model", lambda job: BilinearModel())
    monkeypatch.setattr(planner, "free_bytes", lambda device: 8 * 10**9)


def job(source: Path, **options: Any) -> UpscaleJob:
    output = options.pop("output", Path("out.mp4"))
    return UpscaleJob(input=source, output=output, **options)


def test_plan_and_run_are_made_by_the_same_planner(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    plans: list[RunPlan] = []
    original = planner.plan_run

    def remember(*arguments: Any) -> RunPlan:
        plans.append(original(*arguments))
        return plans[-1]

    monkeypatch.setattr("diffst_cli.run.plan_run", remember)
    asked = job(video, output=tmp_path / "out.mp4", fps_x=Fraction(2), scale=Fraction(3, 2))
    planned = make_plan(asked, is_named=True)
    summary = run_job(asked, model=BilinearModel())
    assert plans == [planned.run]
    assert summary.receipt.ok
    assert summary.size == planned.run.size == (96, 72)
    assert summary.frames_out == planned.run.num_frames == 20


def test_command_prints_everything_and_writes_nothing(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert main(["plan", str(video), "--fps-x", "2"]) == 0
    rows = [line.split(None, 1) for line in capsys.readouterr().out.splitlines()]
    assert [name for name, _ in rows] == [
        *("input", "output", "clips", "model", "at", "memory", "time", "disk", "encoding", "kept")
    ]
    told = dict(rows)
    assert told["input"].endswith("64x48, 25 fps, 0.4 s")
    assert "256x192" in told["output"]
    assert told["output"].endswith("about 20 frames, 0.4 s")
    assert "measured by a trial of 4 frames of 64x48" in told["time"]
    assert "h264 (`libx264`), yuv420p, crf 16" in told["encoding"]
    assert sorted(tmp_path.iterdir()) == before


def test_json_has_the_figures(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "plan.json"
    assert main(["plan", str(video), "--vram-limit", "4", "--json", str(file)]) == 0
    written = json.loads(file.read_text())
    assert written["output"]["frames"] == 10
    assert written["memory"]["limit_bytes"] == 4 * 10**9
    assert written["memory"]["fits"] is True
    assert written["memory"]["rungs"][0]["tile"] is None
    assert written["time"]["source"] == MEASURED
    assert written["obstacles"] == []
    assert main(["plan", str(video), "--json", str(tmp_path / "no" / "plan.json")]) == 2


def test_named_output_is_refused_as_upscale_does(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    there = tmp_path / "there.mp4"
    there.touch()
    said = []
    for command in ("plan", "upscale"):
        assert main([command, str(video), str(there)]) == 2
        said.append(capsys.readouterr().err)
    assert said[0] == said[1]
    assert "already exists" in said[0]


def test_a_part_past_the_end_is_refused(video: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["plan", str(video), "--start", "99"]) == 1
    assert "error: no frame in the chosen part of" in capsys.readouterr().err


def test_large_model_is_planned_without_being_here(video: Path):
    planned = make_plan(
        job(video, model="wan-1.3b", size=(512, 384), vram_limit=Fraction(8)), is_named=False
    )
    assert planned.time.source == COMPUTED
    quick = choose_precision("auto", torch.device("cpu"))  # what this machine multiplies natively
    assert PRECISIONS[planned.run.precision] == quick
    assert any(
        "`wan-1.3b` cannot run: it has no trained" in obstacle for obstacle in planned.obstacles
    )
    star = make_plan(job(video, model="star-light"), is_named=False)
    assert (star.time.source, star.time.seconds) == (UNKNOWN, None)


def test_several_processes_are_told(video: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["plan", str(video), "--devices", "cpu:2"]) == 0
    assert "on cpu, " in (told := capsys.readouterr().out)
    assert "in 2 processes; memory is that of one" in told


def test_too_little_memory_and_disk_are_obstacles(video: Path, monkeypatch: pytest.MonkeyPatch):
    usage = SimpleNamespace(free=1000)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage)
    planned = make_plan(job(video, vram_limit=Fraction(1, 100)), is_named=False)
    assert not planned.run.fits
    assert planned.run.chosen == len(planned.run.rungs) - 1
    memory, disk = planned.obstacles
    assert re.match(r"the model may need \d+ MB of memory, and 0 kB are to be had", memory)
    assert re.match(r"the disk may need 50 MB, and has 1 kB", disk)


def test_model_that_lacks_its_device_is_refused_as_when_loading(
    video: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    if torch.cuda.device_count():
        pytest.skip("there is a GPU")
    assert main(["plan", str(video), "--model", "wan-1.3b", "--device", "cuda"]) == 1
    error = capsys.readouterr().err
    assert "cannot load the model `wan-1.3b`: device `cuda` is not available" in error


def test_rules_of_large_models_are_those_they_run_by():
    tiny = wan.build_random("tiny", dtype=torch.float32)
    trained = wan.DiffSTWanPipeline(**tiny.components, trained=True)
    assert WanUpscaler("any", trained, torch.device("cpu")).rules == large_rules("wan-1.3b")
    assert large_rules("star-light") == rules_of(StarSettings())
    assert large_rules("star-light") == large_rules("star-heavy")
    assert large_rules("star-cogvideox") == cogvideox_upscaler.RULES


def test_a_run_warns_of_the_disk_before_its_work(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    usage = SimpleNamespace(free=1000)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage)
    notes = Notes()
    asked = job(video, output=tmp_path / "out.mp4")
    run_job(asked, model=BilinearModel(), reporter=notes)
    (warning,) = notes.warnings
    assert re.match(r"the disk may need 50 MB, and has 1 kB", warning)
