"""Names that are no UTF-8, as old file systems hold them, are names like others."""

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from diffst_cli import batch
from diffst_cli.app import main
from diffst_cli.batch import find_jobs, run_batch
from diffst_cli.job import UpscaleJob
from diffst_cli.progress import Reporter
from diffst_cli.run import run_job
from diffst_cli.summary import write_receipt
from tests.fakes import BilinearModel, open_bilinear
from tests.media import make_png_folder, make_rich, make_video

LATIN = os.fsdecode(b"\xe9t\xe9")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose own name is such a one."""
    made = tmp_path / LATIN
    try:
        made.mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    return made


def job(source: Path, output: Path, **options: Any) -> UpscaleJob:
    return UpscaleJob(input=source, output=output, scale=Fraction(1), device="cpu", **options)


def test_a_video_with_all_its_streams(folder: Path):
    source = make_rich(folder / "in.mkv").rename(folder / f"{LATIN}.mkv")
    output = folder / f"{LATIN} out.mkv"
    summary = run_job(job(source, output), model=BilinearModel())
    assert summary.receipt.ok
    assert output.is_file()
    write_receipt(folder / "receipt.json", summary)
    told = json.loads((folder / "receipt.json").read_text(encoding="utf-8"))
    assert (told["input"], told["output"]) == (str(source), str(output))


@pytest.mark.parametrize("name", [f"{LATIN} %", f"{LATIN}_%05d.png", f"{LATIN}.gif"])
def test_pictures(folder: Path, name: str):
    source = make_png_folder(folder / f"in {LATIN}")
    assert run_job(job(source, folder / name), model=BilinearModel()).receipt.ok


def test_a_batch_and_its_log(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(batch, "open_model", open_bilinear)
    make_video(folder / "a.mkv").rename(folder / f"{LATIN}.mkv")
    (folder / f"x {LATIN}.mkv").write_bytes(b"no video")
    make_video(folder / "z.mkv")
    log = tmp_path / "log.jsonl"
    jobs = find_jobs(job(folder, tmp_path / "out"), None)
    results = run_batch(jobs, reporter=Reporter(), log_file=log)
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert [line["input"] for line in lines] == [str(job.input) for job in jobs]
    assert {result.job.input.name: result.failed for result in results} == {
        "z.mkv": False,
        f"x {LATIN}.mkv": True,
        f"{LATIN}.mkv": False,
    }


def test_a_comparison(folder: Path):
    plain = make_video(folder / "a.mp4", num_frames=3)
    source = make_video(folder / "b.mp4", num_frames=3).rename(folder / f"{LATIN}.mp4")
    page = folder / f"{LATIN}.html"
    assert main(["compare", str(plain), str(source), "-o", str(page)]) == 0
    assert r"\udce9t\udce9" in page.read_text(encoding="utf-8")


def test_what_is_printed(folder: Path):
    source = make_video(folder / "a.mp4", num_frames=3).rename(folder / f"{LATIN}.mp4")
    line = [sys.executable, "-m", "diffst_cli", "plan", str(source), "--device", "cpu"]
    environment = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(line, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0
    assert "error: " not in done.stderr
    assert r"\udce9t\udce9.mp4" in done.stdout
