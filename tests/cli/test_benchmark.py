import json
from collections.abc import Mapping
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from diffst_cli import benchmark
from diffst_cli.app import main
from diffst_cli.benchmark import Plan, Result, Spread, make_clip, measure, report, summarise
from diffst_cli.errors import UserError
from diffst_cli.job import UpscaleJob
from diffst_cli.probe import probe
from diffst_cli.progress import Reporter
from diffst_cli.reader import read_frames
from diffst_cli.receipt import Receipt
from diffst_cli.summary import RunSummary
from tests.fakes import BilinearModel


def a_run(seconds: float, stages: Mapping[str, float]) -> RunSummary:
    """Ten frames of 1000x500 made from five."""
    return RunSummary(
        input=Path("in.mp4"),
        output=Path("out.mp4"),
        size=(1000, 500),
        frame_rate=Fraction(60),
        frames_in=5,
        frames_out=10,
        seconds=seconds,
        stage_seconds=stages,
        peak_memory_bytes=round(seconds * 1e9),
        receipt=Receipt(input=Path("in.mp4"), output=Path("out.mp4"), checks=(), notes=()),
    )


def a_job(source: Path, output: Path, duration: Fraction) -> UpscaleJob:
    return UpscaleJob(input=source, output=output, fps_x=Fraction(2), duration=duration)


def a_plan(*, num_frames: int = 4, repeats: int = 2, size: tuple[int, int] = (32, 16)) -> Plan:
    return Plan(source=None, size=size, num_frames=num_frames, repeats=repeats, make_job=a_job)


@pytest.fixture
def result() -> Result:
    runs = [a_run(seconds, {"read": seconds / 10, "own": 1.0}) for seconds in (2.0, 5.0, 4.0)]
    return summarise(runs, input_size=(250, 125))


def test_spread_is_median_and_extremes():
    assert Spread.of([3.0, 1.0, 9.0]) == Spread(median=3.0, lowest=1.0, highest=9.0)


def test_summary_counts_frames_and_pixels_of_the_output(result: Result):
    assert result.seconds == Spread(median=4.0, lowest=2.0, highest=5.0)
    assert result.output_fps == Spread(median=2.5, lowest=2.0, highest=5.0)
    assert result.megapixels_per_second == Spread(median=1.25, lowest=1.0, highest=2.5)
    assert result.stage_seconds["read"].median == pytest.approx(0.4)
    assert (result.frames_in, result.frames_out, result.repeats) == (5, 10, 3)
    assert result.peak_memory_bytes == 5_000_000_000
    assert result.peak_device_bytes is None


def test_report_names_each_stage_and_its_figures(result: Result):
    lines = report(result).splitlines()
    assert (
        lines[0] == "250x125 to 1000x500, 5 frames to 10, measured 3 times after one run to warm up"
    )
    rows = {line[:18].strip(): line[18:].split() for line in lines[2:] if line}
    assert rows["decode the video"] == ["0.40", "0.20", "0.50"]
    assert rows["own"] == ["1.00", "1.00", "1.00"]
    assert rows["file to file"] == ["4.00", "2.00", "5.00"]
    assert rows["output frames/s"] == ["2.50", "2.00", "5.00"]
    assert rows["peak memory"] == ["5.00", "GB"]


def test_every_stage_of_a_run_has_a_title(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(benchmark, "open_model", lambda _: BilinearModel())
    lines = report(measure(a_plan(num_frames=3, repeats=1), Reporter())).splitlines()
    titles = [line[:18].strip() for line in lines[3 : lines.index("", 3) - 2]]
    assert titles == [
        "decode the video",
        "find cuts",
        "model, all of it",
        "decode",
        "encode the video",
        "mux and check",
    ]


def test_clip_has_the_size_and_moves_in_every_frame(tmp_path: Path):
    info = probe(make_clip(tmp_path / "clip.mp4", (64, 48), 5))
    assert (info.width, info.height, info.frame_rate) == (64, 48, Fraction(30))
    with read_frames(info) as reader:
        images = [frame.image for frame in reader]
    assert len(images) == 5
    assert all((before != after).any() for before, after in pairwise(images))


def test_warm_up_does_not_count(monkeypatch: pytest.MonkeyPatch):
    jobs: list[UpscaleJob] = []

    def fake_run(job: UpscaleJob, **_: object) -> RunSummary:
        jobs.append(job)
        job.output.touch()
        return a_run(100.0 if len(jobs) == 1 else 1.0, {})

    monkeypatch.setattr(benchmark, "open_model", lambda job: None)
    monkeypatch.setattr(benchmark, "run_job", fake_run)
    measured = measure(a_plan(num_frames=6, repeats=2), Reporter())
    assert len(jobs) == 3
    assert measured.seconds == Spread(median=1.0, lowest=1.0, highest=1.0)
    assert jobs[0].duration == Fraction(6, 30)
    assert not jobs[0].output.parent.exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--frames", "0"], "`--frames` is `0`; it takes 1 or more"),
        (["--repeats", "0"], "`--repeats` is `0`; it takes 1 or more"),
        (["clip.mp4", "--input-size", "64x48"], "but INPUT is given"),
        (["--input-size", "64x49"], "`--input-size` is `64x49`; it takes even numbers from 16"),
        (["--input-size", "0x0"], "`--input-size` is `0x0`; it takes even numbers from 16"),
    ],
)
def test_options_that_make_no_sense_are_usage_errors(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
):
    assert main(["benchmark", *words]) == 2
    assert sentence in capsys.readouterr().err


def test_json_holds_figures_and_machine(
    tmp_path: Path,
    result: Result,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr(benchmark, "measure", lambda plan, reporter: result)
    assert main(["benchmark", "--json", str(tmp_path / "speed.json")]) == 0
    assert capsys.readouterr().out == report(result) + "\n"
    written = json.loads((tmp_path / "speed.json").read_text())
    assert written["output_fps"] == {"median": 2.5, "lowest": 2.0, "highest": 5.0}
    assert {"diffst", "torch", "CPU"} <= written["machine"].keys()
    assert written["model"] == "nano"


def test_json_that_cannot_be_written_is_an_error_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(benchmark, "measure", lambda plan, reporter: pytest.fail("measured"))
    assert main(["benchmark", "--json", str(tmp_path / "missing" / "speed.json")]) == 2


def test_source_that_is_missing_is_an_error(tmp_path: Path):
    plan = Plan(source=tmp_path / "missing.mp4", size=None, num_frames=2, repeats=1, make_job=a_job)
    with pytest.raises(UserError, match="missing"):
        measure(plan, Reporter())


@pytest.mark.slow
def test_nano_is_measured_from_file_to_file():
    measured = measure(a_plan(num_frames=3, repeats=1, size=(64, 48)), Reporter())
    assert (measured.output_size, measured.frames_in, measured.frames_out) == ((256, 192), 3, 6)
    assert {"read", "cfca", "encode", "dit", "decode", "write"} <= measured.stage_seconds.keys()
