import os
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from diffst.folders import VARIABLE
from diffst_cli.app import main
from diffst_cli.ffmpeg import ffmpeg_path
from diffst_cli.job import UpscaleJob
from diffst_cli.probe import VideoInfo, probe
from diffst_cli.recipe import SAMPLE_BYTES, SAMPLES, fingerprint, make_recipe, recipe_hash
from tests.media import make_png_folder, make_video


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> VideoInfo:
    return probe(make_video(tmp_path_factory.mktemp("recipe") / "clip.mp4", num_frames=2))


def test_what_changes_the_output_changes_the_recipe(clip: VideoInfo):
    job = UpscaleJob(input=clip.path, output=Path("out.mp4"))
    before = make_recipe(job, clip)
    changed = {
        "scale": replace(job, scale=Fraction(3)),
        "fps": replace(job, fps=Fraction(30)),
        "start": replace(job, start=Fraction(1)),
        "crf": replace(job, crf=20.0),
        "precision": replace(job, precision="fp16"),
        "vram_limit": replace(job, vram_limit=Fraction(2)),  # which cuts pictures into tiles
        "output": replace(job, output=Path("out.mkv")),
    }
    for name, other in changed.items():
        after = make_recipe(other, clip)
        assert [key for key in before if before[key] != after[key]] == [name]
        assert recipe_hash(after) != recipe_hash(before)


def test_a_gpu_is_another_recipe_whichever_it_is(clip: VideoInfo):
    job = UpscaleJob(input=clip.path, output=Path("out.mp4"), device="cpu")
    on_cpu = make_recipe(job, clip)
    on_gpu = make_recipe(replace(job, device="cuda:1"), clip)
    assert (on_cpu["device"], on_gpu["device"]) == ("cpu", "cuda")
    assert make_recipe(replace(job, device="auto", devices=("cuda:0", "cuda:2")), clip) == on_gpu


@pytest.mark.parametrize("chosen", [torch.float32, torch.bfloat16])
def test_what_precision_a_cpu_chooses_belongs_to_the_recipe(
    chosen: torch.dtype, clip: VideoInfo, monkeypatch: pytest.MonkeyPatch
):
    job = UpscaleJob(input=clip.path, output=Path("out.mp4"), device="cpu")
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: chosen is torch.bfloat16)
    name = {torch.float32: "fp32", torch.bfloat16: "bf16"}[chosen]
    assert make_recipe(job, clip) == make_recipe(replace(job, precision=name), clip)
    workers = replace(job, device="auto", devices=("cpu", "cpu"))
    assert make_recipe(workers, clip) == make_recipe(job, clip)


def test_what_does_not_change_the_output_does_not_change_the_recipe(clip: VideoInfo):
    job = UpscaleJob(input=clip.path, output=Path("out.mp4"), device="cuda:0")
    other = UpscaleJob(
        input=clip.path,
        output=Path("elsewhere/out.mp4"),
        device="cuda:3",
        overwrite=True,
        restart=True,
    )
    assert make_recipe(job, clip) == make_recipe(other, clip)


def test_the_same_ffmpeg_elsewhere_is_the_same_recipe(
    clip: VideoInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    job = UpscaleJob(input=clip.path, output=Path("out.mp4"), device="cpu")
    here = make_recipe(job, clip)
    elsewhere = tmp_path / "ffmpeg"
    shutil.copy(ffmpeg_path(), elsewhere)
    monkeypatch.setattr("diffst_cli.recipe.ffmpeg_path", lambda: elsewhere)
    assert make_recipe(job, clip) == here
    elsewhere.write_bytes(elsewhere.read_bytes() + b"another build")
    assert make_recipe(job, clip) != here


def test_outputs_of_one_name_are_told_apart_in_a_folder_of_all_their_work(clip: VideoInfo):
    job = UpscaleJob(input=clip.path, output=Path("a/out.mp4"), work_folder=Path("tmp"))
    other = replace(job, output=Path("b/out.mp4"))
    assert make_recipe(job, clip) != make_recipe(other, clip)
    assert make_recipe(job, clip) == make_recipe(replace(job, work_folder=Path("moved")), clip)


def test_a_folder_is_the_same_with_a_slash_and_without_and_is_no_video(clip: VideoInfo):
    job = UpscaleJob(input=clip.path, output=Path("out"))
    assert make_recipe(replace(job, output_is_folder=True), clip) == make_recipe(job, clip)
    video = replace(job, output=Path("out.mp4"))
    assert make_recipe(replace(video, output_is_folder=True), clip) != make_recipe(video, clip)


def test_another_model_is_another_recipe(clip: VideoInfo, tmp_path: Path):
    (tmp_path / "model_index.json").write_text("{}", encoding="utf-8")
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    job = UpscaleJob(input=clip.path, output=Path("out.mp4"), model=str(tmp_path))
    before = make_recipe(job, clip)
    (tmp_path / "config.json").write_text("{ }", encoding="utf-8")
    after = make_recipe(job, clip)
    assert [key for key in before if before[key] != after[key]] == ["weights"]
    os.utime(tmp_path / "config.json", ns=(0, 0))  # installed at another time
    assert make_recipe(job, clip) == after


def test_an_edit_of_the_same_size_is_seen_by_time_or_by_content(tmp_path: Path):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(3 * SAMPLES * SAMPLE_BYTES))
    before, stamp = fingerprint((path,)), path.stat().st_mtime_ns
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"x")
    os.utime(path, ns=(stamp, stamp))
    edited = fingerprint((path,))
    os.utime(path, ns=(stamp, stamp + 1))
    assert len({before, edited, fingerprint((path,))}) == 3


def test_a_picture_that_changes_changes_a_folder(tmp_path: Path):
    info = probe(make_png_folder(tmp_path / "pictures", num_images=3))
    before = fingerprint(info.images)
    os.utime(info.images[1], ns=(0, 0))
    assert fingerprint(info.images) != before


def test_the_weights_of_a_downloaded_star_belong_to_the_recipe(
    clip: VideoInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("DIFFST_MODELS", str(tmp_path))
    weights = tmp_path / "star-light" / "unet" / "model.safetensors"
    weights.parent.mkdir(parents=True)
    job = UpscaleJob(input=clip.path, output=Path("out.mp4"), model="star-light")
    without = make_recipe(job, clip)
    weights.touch()
    with_weights = make_recipe(job, clip)
    assert [key for key in without if without[key] != with_weights[key]] == ["weights"]


def test_what_the_first_run_makes_of_published_files_does_not_change_the_recipe(
    clip: VideoInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    model = tmp_path / "star-light"
    published = model / "published" / "light_deg.pt"
    published.parent.mkdir(parents=True)
    published.write_bytes(b"weights")
    job = UpscaleJob(input=clip.path, output=Path("out.mp4"), model="star-light")
    fetched = make_recipe(job, clip)
    (model / "prompts.safetensors").touch()
    (model / "unet").mkdir()
    (model / "unet" / "diffusion_pytorch_model.safetensors").touch()
    assert make_recipe(job, clip) == fetched
    published.write_bytes(b"others!")
    assert make_recipe(job, clip)["weights"] != fetched["weights"]


def test_without_a_home_nano_works_and_downloads_say_what_is_missing(
    clip: VideoInfo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    for name in ("DIFFST_MODELS", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert make_recipe(UpscaleJob(input=clip.path, output=Path("out.mp4")), clip)
    assert main(["models", "list"]) == 1
    told = (
        "cannot use `DIFFST_MODELS`: it is not set, and there is no home folder to keep models in"
    )
    assert told in capsys.readouterr().err
