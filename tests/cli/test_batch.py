import json
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from diffst_cli import batch, run
from diffst_cli.app import main
from diffst_cli.batch import find_jobs, run_batch
from diffst_cli.errors import UserError
from diffst_cli.job import UpscaleJob
from diffst_cli.progress import Reporter
from diffst_cli.receipt import Check, Receipt
from diffst_cli.summary import RunSummary
from tests.fakes import open_counted, open_none
from tests.media import make_video


def template(source: Path, output: Path, **options: Any) -> UpscaleJob:
    return UpscaleJob(input=source, output=output, **options)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def found(source: Path, output: Path, glob: str | None = None) -> dict[str, str]:
    """Input name -> output name, each inside its folder."""
    return {
        str(job.input.relative_to(source)): str(job.output.relative_to(output))
        for job in find_jobs(template(source, output), glob)
    }


def test_the_tree_is_mirrored_and_other_files_left_alone(tmp_path: Path):
    source, output = tmp_path / "in", tmp_path / "out"
    touch(
        source,
        "b.mp4",
        "a.MKV",
        "day 1/é '日本'.webm",
        "day 1/deep/-x.mov",
        "notes.txt",
        "cover.jpg",
    )
    touch(source, ".hidden.mp4", ".trash/c.mp4")
    assert found(source, output) == {
        "a.MKV": "a.MKV",
        "b.mp4": "b.mp4",
        "day 1/deep/-x.mov": "day 1/deep/-x.mov",
        "day 1/é '日本'.webm": "day 1/é '日本'.webm",
    }


def test_containers_we_cannot_write_get_matroska_added(tmp_path: Path):
    touch(tmp_path, "a.avi", "a.mkv", "a.ts", "a.wmv", "b.MTS")
    assert found(tmp_path, tmp_path / "out") == {
        "a.avi": "a.avi.mkv",
        "a.mkv": "a.mkv",
        "a.ts": "a.ts.mkv",
        "a.wmv": "a.wmv.mkv",
        "b.MTS": "b.MTS.mkv",
    }


def test_no_two_inputs_share_an_output(tmp_path: Path):
    touch(tmp_path, "a.mp4", "a.mkv", "a.ts", "a.ts.mkv", "a.ts.mkv.mkv")
    assert found(tmp_path, tmp_path / "out") == {
        "a.mkv": "a.mkv",
        "a.mp4": "a.mp4",
        "a.ts": "a.ts.mkv.mkv.mkv",
        "a.ts.mkv": "a.ts.mkv",
        "a.ts.mkv.mkv": "a.ts.mkv.mkv",
    }


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("*.mkv", {"a.mkv", "day1/c.mkv"}),
        ("day1/*", {"day1/c.mkv", "day1/d.bin"}),
        ("b.*", {"b.mp4"}),
        ("**/*.mkv", {"a.mkv", "day1/c.mkv"}),
    ],
)
def test_a_pattern_filters_by_name_or_path(tmp_path: Path, glob: str, expected: set[str]):
    touch(tmp_path, "a.mkv", "b.mp4", "day1/c.mkv", "day1/d.bin")
    assert found(tmp_path, tmp_path / "out", glob).keys() == expected


def test_outputs_inside_the_input_folder_are_not_inputs(tmp_path: Path):
    touch(tmp_path, "a.mp4", "out/a.mp4", "out/deep/b.mp4", "outside/c.mp4")
    assert found(tmp_path, tmp_path / "out").keys() == {"a.mp4", "outside/c.mp4"}


def test_an_output_folder_around_the_input_hides_nothing(tmp_path: Path):
    touch(tmp_path, "in/sub/a.mp4")
    assert found(tmp_path / "in" / "sub", tmp_path / "in").keys() == {"a.mp4"}


def test_outputs_that_would_lie_among_the_inputs_are_refused(tmp_path: Path):
    touch(tmp_path, "in/a.mp4", "in/in/b.mp4")
    with pytest.raises(UserError, match="would get outputs that lie in"):
        found(tmp_path / "in", tmp_path)


def test_a_folder_reached_by_another_name_is_the_same_folder(tmp_path: Path):
    touch(tmp_path, "in/a.mp4")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    with pytest.raises(UserError, match="is the input folder too"):
        find_jobs(template(tmp_path / "in", tmp_path / "link"), None)


@pytest.mark.parametrize(
    ("source", "output", "glob", "message"),
    [
        ("missing", "out", None, "`.*missing` is not a folder"),
        ("in/a.mp4", "out", None, "`.*a.mp4` is not a folder"),
        ("in", "in/a.mp4", None, "`.*a.mp4` is not a folder"),
        ("in", "loop", None, "`.*loop` is a link that leads to itself"),
        ("in", "loop/out", None, "`.*out` is a link that leads to itself"),
        ("loop", "out", None, "`.*loop` is not a folder"),
        ("in", "in", None, "is the input folder too"),
        ("empty", "out", None, "no video in `.*empty`"),
        ("in", "out", "*.mov", r"no file that matches `\*.mov` in"),
    ],
)
def test_folders_that_make_no_sense_are_refused(
    tmp_path: Path, source: str, output: str, glob: str | None, message: str
):
    touch(tmp_path, "in/a.mp4", "empty/readme.txt")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UserError, match=message):
        find_jobs(template(tmp_path / source, tmp_path / output), glob)


class Runs:
    """Stands for the model and the journey; fails for inputs called `bad...`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.num_loads = 0
        self.done: list[str] = []
        self.places: list[str] = []
        monkeypatch.setattr(batch, "open_model", self.open_model)
        monkeypatch.setattr(batch, "Journey", partial(Going, self))

    def open_model(self, _job: UpscaleJob) -> str:
        self.num_loads += 1
        return "the model"


class Going:
    """Stands for a `Journey` that makes nothing."""

    is_made = True

    def __init__(self, runs: Runs, job: UpscaleJob, reporter: Reporter, name: str) -> None:
        assert name.startswith(f"{job.input.name}, ")
        assert isinstance(reporter, Reporter)
        runs.places.append(name.rpartition(", ")[2])
        self._runs = runs
        self._job = job

    def begin(self, model: object, crew: object) -> None:
        assert (model, crew) == ("the model", None)
        self._runs.done.append(self._job.input.name)
        if self._job.input.name.startswith("bad"):
            raise UserError(f"no video stream in `{self._job.input}`")

    def complete(self) -> RunSummary:
        job = self._job
        if job.input.name.startswith("bug"):
            raise ZeroDivisionError("division by zero")
        ok = not job.input.name.startswith("unchecked")
        if ok:
            job.output.write_bytes(b"video")
        check = Check(name="frames", ok=ok, expected="2", actual="2" if ok else "1")
        return RunSummary(
            input=job.input,
            output=job.output,
            size=(4, 2),
            frame_rate=Fraction(25),
            frames_in=1,
            frames_out=2,
            seconds=0.5,
            stage_seconds={},
            peak_memory_bytes=1,
            receipt=Receipt(input=job.input, output=job.output, checks=(check,), notes=()),
        )

    def close(self, *_error: object) -> None:
        """Nothing is held."""


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    return Runs(monkeypatch)


def test_one_bad_file_does_not_stop_the_rest(
    tmp_path: Path, runs: Runs, capsys: pytest.CaptureFixture[str]
):
    touch(tmp_path / "in", "a.mp4", "bad.mp4", "bug.mp4", "sub/z.mp4", "unchecked.mp4")
    assert main(["batch", str(tmp_path / "in"), str(tmp_path / "out"), "--scale", "2"]) == 1
    assert runs.done == ["a.mp4", "bad.mp4", "bug.mp4", "z.mp4", "unchecked.mp4"]
    assert runs.places == ["1/5", "2/5", "3/5", "4/5", "5/5"]
    assert runs.num_loads == 1
    shown = capsys.readouterr()
    assert f"1/5 `{tmp_path}/in/a.mp4`: 4x2, 2 frames" in shown.err
    assert (tmp_path / "out" / "sub" / "z.mp4").is_file()
    assert shown.out == ""
    errors = [line for line in shown.err.splitlines() if line.startswith("error: ")]
    assert [
        ("bad.mp4" in errors[0]),
        ("bug in diffst" in errors[1]),
        ("was not kept" in errors[2]),
    ] == [True] * 3
    assert "Traceback" not in shown.err


def test_an_output_that_another_batch_made_meanwhile_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: Runs
):
    def begin(self: Going, _model: object, _crew: object) -> None:
        self._job.output.write_bytes(b"made by another")
        raise UserError(f"`{self._job.output}` already exists")

    monkeypatch.setattr(Going, "begin", begin)
    touch(tmp_path / "in", "a.mp4")
    assert main(["batch", str(tmp_path / "in"), str(tmp_path / "out"), "-q"]) == 0
    assert runs.num_loads == 1


def test_a_name_that_is_too_long_fails_alone(tmp_path: Path, runs: Runs):
    long = "a" * 251 + ".ts"  # with `.mkv` more than a name may have
    touch(tmp_path / "in", long, "b.mkv")
    (tmp_path / "out").mkdir()
    assert main(["batch", str(tmp_path / "in"), str(tmp_path / "out"), "-q"]) == 1
    assert runs.done[-1] == "b.mkv"
    assert (tmp_path / "out" / "b.mkv").is_file()


def test_the_table_has_a_line_for_each_file(
    tmp_path: Path, runs: Runs, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    touch(tmp_path / "in", "a.mp4", "bad.mp4", "c.mp4")
    touch(tmp_path / "out", "c.mp4")
    assert main(["batch", "in", "out"]) == 1
    *table, note = capsys.readouterr().err.splitlines()[-5:]
    assert [line.split()[0] for line in table] == ["file", "in/a.mp4", "in/bad.mp4", "in/c.mp4"]
    assert "4x2, 2 frames, 4.0 frames/s" in table[1]
    assert "failed: no video stream" in table[2]
    assert "skipped: already there" in table[3]
    assert note == "what was already there may be of other options; `--overwrite` makes it again"


def test_finished_files_are_skipped_and_the_model_not_loaded_for_them(tmp_path: Path, runs: Runs):
    touch(tmp_path / "in", "a.mp4", "b.mp4")
    touch(tmp_path / "out", "a.mp4", "b.mp4")
    line = ["batch", str(tmp_path / "in"), str(tmp_path / "out"), "--quiet"]
    assert main(line) == 0
    assert (runs.done, runs.num_loads) == ([], 0)
    assert main([*line, "--overwrite"]) == 0
    assert runs.done == ["a.mp4", "b.mp4"]


def test_quiet_shows_the_failures_only(
    tmp_path: Path, runs: Runs, capsys: pytest.CaptureFixture[str]
):
    touch(tmp_path / "in", "a.mp4", "bad.mp4")
    assert main(["batch", str(tmp_path / "in"), str(tmp_path / "out"), "-q"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: no video stream in")


def test_options_reach_every_job_and_are_checked_before_any_work(
    tmp_path: Path, runs: Runs, capsys: pytest.CaptureFixture[str]
):
    touch(tmp_path / "in", "a.mp4")
    jobs = find_jobs(template(tmp_path / "in", tmp_path / "out", scale=Fraction(2), crf=20.0), None)
    assert jobs[0] == replace(
        template(tmp_path / "in" / "a.mp4", tmp_path / "out" / "a.mp4"), scale=Fraction(2), crf=20.0
    )
    assert main(["batch", str(tmp_path / "in"), str(tmp_path / "out"), "--scale", "0"]) == 2
    assert "--scale" in capsys.readouterr().err
    assert runs.done == []
    assert not (tmp_path / "out").exists()


def test_a_model_that_does_not_load_ends_the_batch(
    tmp_path: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch
):
    touch(tmp_path / "in", "a.mp4", "b.mp4")

    def refuse(_job: UpscaleJob) -> None:
        raise UserError("cannot load the model")

    monkeypatch.setattr(batch, "open_model", refuse)
    with pytest.raises(UserError, match="cannot load the model"):
        run_batch(find_jobs(template(tmp_path / "in", tmp_path / "out"), None), reporter=Reporter())
    assert runs.done == []


def test_ctrl_c_ends_the_batch_at_once(tmp_path: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch):
    touch(tmp_path / "in", "a.mp4", "b.mp4")

    def interrupt(_journey: Going) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Going, "complete", interrupt)
    assert main(["batch", str(tmp_path / "in"), str(tmp_path / "out")]) == 130
    assert runs.done == ["a.mp4"]


def test_a_log_has_a_line_for_each_video_with_its_receipt(tmp_path: Path, runs: Runs):
    touch(tmp_path / "in", "a.mp4", "bad.mp4", "c.mp4")
    touch(tmp_path / "out", "c.mp4")
    log = tmp_path / "log.jsonl"
    log.write_text('{"of": "an earlier batch"}\n', encoding="utf-8")
    line = ["batch", str(tmp_path / "in"), str(tmp_path / "out"), "-q", "--log", str(log)]
    assert main(line) == 1
    earlier, good, bad = map(json.loads, log.read_text(encoding="utf-8").splitlines())
    assert earlier == {"of": "an earlier batch"}
    assert (good["ok"], Path(good["output"])) == (True, tmp_path / "out" / "a.mp4")
    assert good["receipt"]["checks"][0]["name"] == "frames"
    assert good["receipt"]["frames_out"] == 2
    assert (bad["ok"], bad["receipt"]) == (False, None)
    assert bad["outcome"].startswith("failed: no video stream")


def test_a_watched_folder_gives_each_file_once_it_is_whole(
    tmp_path: Path, runs: Runs, monkeypatch: pytest.MonkeyPatch
):
    source = tmp_path / "in"
    source.mkdir()
    looks: list[list[str]] = []

    def next_look(_seconds: float) -> None:
        """What happens in the folder between two looks at it."""
        looks.append(list(runs.done))
        if len(looks) == 1:
            touch(source, "a.mp4", "bad.mp4")
        elif len(looks) == 2:
            (source / "a.mp4").write_bytes(b"growing")
        elif len(looks) == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", next_look)
    assert main(["batch", str(source), str(tmp_path / "out"), "-q", "--watch"]) == 130
    assert looks == [[], [], ["bad.mp4"], *[["bad.mp4", "a.mp4"]] * 3]


@pytest.fixture
def three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UpscaleJob:
    """For two processes: a folder of three, one of which is no video."""
    source = tmp_path / "in"
    source.mkdir()
    for name in ("a.mp4", "c.mp4"):
        make_video(source / name, size=(32, 24), num_frames=8)
    (source / "b.mp4").write_bytes(b"no video")
    monkeypatch.setattr(run, "open_model", open_counted)
    return template(source, tmp_path / "out", scale=Fraction(2), devices=("cpu", "cpu"))


def test_several_processes_load_their_own_models_and_keep_them_for_all_files(
    three: UpscaleJob, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(batch, "open_model", lambda _: pytest.fail("loaded here"))
    line = ["batch", str(three.input), str(three.output), "-q", "--devices", "cpu:2"]
    assert main([*line, "--scale", "2"]) == 1
    assert {path.name for path in three.output.glob("*.mp4")} == {"a.mp4", "c.mp4"}
    loads = (three.output / "loads").read_text(encoding="utf-8").splitlines()
    assert len(loads) == len(set(loads)) == 2
    assert not any(psutil.pid_exists(int(pid)) for pid in loads)


def test_workers_that_do_not_load_their_model_end_the_batch(
    three: UpscaleJob, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(run, "open_model", open_none)
    with pytest.raises(UserError, match="no such model"):
        run_batch(find_jobs(replace(three, devices=("cpu",)), None), reporter=Reporter())
    assert not three.output.exists()
