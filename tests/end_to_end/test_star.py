"""STAR through the whole command, at a tiny size with random weights."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from diffst.star.settings import StarSettings
from diffst.star.upscaler import load_star
from diffst_cli.app import main
from diffst_cli.job import UpscaleJob
from diffst_cli.probe import probe
from diffst_cli.reader import read_frames
from diffst_cli.run import run_job
from tests.diffst.star.random_star import save_random
from tests.diffst.star.toys import BlindToTime
from tests.end_to_end.command import TIMEOUT_SECONDS, diffst, environment, names
from tests.media import make_video


@pytest.fixture(scope="module")
def star(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "star tiny é"
    save_random(folder)
    return folder


def test_the_command_makes_a_video_with_twice_the_frames(tmp_path: Path, star: Path):
    make_video(tmp_path / "in.mp4", num_frames=3, size=(32, 24))
    asked = ("upscale", "in.mp4", "out.mkv", "--model", star, "--scale", "2", "--fps-x", "2")
    done = diffst(*asked, "--steps", "3", "--device", "cpu", "--codec", "ffv1", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    frames = list(read_frames(probe(tmp_path / "out.mkv")))
    assert len(frames) == 6
    assert {frame.image.shape for frame in frames} == {(48, 64, 3)}
    # Colours are the input's, but for what is clipped, whatever the random network makes of the rest.
    inputs = list(read_frames(probe(tmp_path / "in.mp4")))
    for frame, given in zip(frames[::2], inputs, strict=True):
        assert np.abs(frame.image.mean((0, 1)) - given.image.mean((0, 1))).max() < 16


def test_a_damaged_folder_is_told_in_one_sentence(
    tmp_path: Path,
    star: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    make_video(tmp_path / "in.mp4", num_frames=2, size=(32, 24))
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "model_index.json").write_bytes((star / "model_index.json").read_bytes())
    assert main(["upscale", "in.mp4", "out.mkv", "--model", "broken"]) == 1
    said = capfd.readouterr().err
    assert "cannot load the model `broken`" in said
    assert "Traceback" not in said
    assert "out.mkv" not in names(tmp_path)


def test_a_frame_is_the_same_wherever_the_video_was_cut(
    tmp_path: Path, star: Path, monkeypatch: pytest.MonkeyPatch
):
    source = make_video(tmp_path / "in.mp4", num_frames=6, size=(32, 24))
    results = []
    for clip_keyframes in (6, 4):
        settings = StarSettings(num_steps=1, guidance=1, decode_frames=1)
        model = load_star(star, device="cpu", precision="fp32", settings=settings)
        # What is left to differ is the noise.
        monkeypatch.setattr(model.pipeline, "unet", BlindToTime())
        model.rules = replace(model.rules, clip_keyframes=clip_keyframes, overlap_keyframes=0)
        output = tmp_path / f"{clip_keyframes}.mkv"
        job = UpscaleJob(input=source, output=output, scale=Fraction(2), codec="ffv1")
        run_job(job, model=model)
        results.append(np.stack([frame.image for frame in read_frames(probe(output))]))
    assert np.abs(results[0].astype(int) - results[1]).max() <= 1


def pictures(path: Path) -> np.ndarray:
    return np.stack([frame.image for frame in read_frames(probe(path))])


@pytest.mark.slow
def test_each_option_of_the_sampler_changes_the_picture(
    tmp_path: Path, star: Path, monkeypatch: pytest.MonkeyPatch
):
    make_video(tmp_path / "in.mp4", num_frames=2, size=(32, 24))
    words: list[list[str]] = []

    def encode(_folder: Path, texts: list[str]) -> torch.Tensor:
        words.append(texts)
        return torch.randn(2, 7, 24, generator=torch.Generator().manual_seed(1))

    monkeypatch.setattr("diffst.star.text.encode_prompts", encode)

    def made(*options: str) -> np.ndarray:
        output = tmp_path / "out.mkv"
        asked = ("upscale", str(tmp_path / "in.mp4"), str(output), "--model", str(star))
        fixed = ("--scale", "1", "--device", "cpu", "--codec", "ffv1", "--quiet", "--overwrite")
        given = dict([("--steps", "1"), *zip(options[::2], options[1::2], strict=True)])
        assert main([*asked, *fixed, *(word for pair in given.items() for word in pair)]) == 0
        return pictures(output)

    plain = made()
    assert np.array_equal(made("--seed", "666", "--guidance", "7.5"), plain)  # the defaults
    changes = (("--steps", "2"), ("--guidance", "2"), ("--seed", "3"), ("--prompt", "a wasp"))
    results = [made(*option) for option in changes]
    assert words[0][0].startswith("a waspCinematic, ")
    for number, result in enumerate(results):
        assert not np.array_equal(result, plain), changes[number]
        # Neither black, nor white, nor one colour.
        assert 5 < result.std() < 100, changes[number]
        assert 20 < result.mean() < 235, changes[number]


def wait_for_a_recorded_piece(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Until the record knows a finished piece: one that lies there a moment before is made again after a kill."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while process.poll() is None:
        assert time.monotonic() < deadline
        for record in folder.glob(".out.diffst-*/manifest.json"):
            segments = json.loads(record.read_text(encoding="utf-8")).get("segments", [])
            if any(segment["piece"] is not None for segment in segments):
                return
        time.sleep(0.02)


# The real command, with a segment to every clip.
ONE_CLIP_A_SEGMENT = (
    "import sys\n"
    "from diffst_cli import segments\n"
    "segments.MIN_KEYFRAMES = segments.MAX_KEYFRAMES = 10\n"
    "from diffst_cli.app import main\n"
    "if __name__ == '__main__':\n"
    "    sys.exit(main())\n"
)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_workers_a_kill_and_going_on_change_no_picture_of_a_long_video(tmp_path: Path, star: Path):
    make_video(tmp_path / "in.mp4", num_frames=70, size=(32, 24))
    given = (
        "upscale in.mp4 out.mkv --scale 1 --fps-x 2 --steps 1 --guidance 1 --codec ffv1 --overwrite"
    )
    asked = (*given.split(), "--model", str(star))
    once = diffst(*asked, "--device", "cpu", folder=tmp_path)
    assert once.returncode == 0, once.stderr
    # Clips of 32 keyframes give 64 frames, so the network saw them in windows.
    expected = pictures(tmp_path / "out.mkv")
    assert len(expected) == 140
    cut = diffst(*asked, "--device", "cpu", "--windows", "cut", folder=tmp_path)
    assert cut.returncode == 0, cut.stderr
    other = pictures(tmp_path / "out.mkv")
    (tmp_path / "out.mkv").unlink()
    assert not np.array_equal(other, expected)

    (tmp_path / "program.py").write_text(ONE_CLIP_A_SEGMENT)
    line = [sys.executable, "program.py", *asked, "--devices", "cpu:2"]
    with subprocess.Popen(line, cwd=tmp_path, env=environment()) as process:
        wait_for_a_recorded_piece(tmp_path, process)
        process.kill()
    assert not (tmp_path / "out.mkv").exists()
    again = subprocess.run(
        line, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=TIMEOUT_SECONDS
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert "going on with the work" in again.stderr
    assert np.array_equal(pictures(tmp_path / "out.mkv"), expected)
