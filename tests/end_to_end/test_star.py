"""STAR through the whole command, at a tiny size with random weights."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from diffst.star.settings import StarSettings
from diffst.star.upscaler import load_star
from diffst_cli.job import UpscaleJob
from diffst_cli.probe import probe
from diffst_cli.reader import read_frames
from diffst_cli.run import run_job
from tests.diffst.star.random_star import save_random
from tests.diffst.star.toys import BlindToTime
from tests.end_to_end.command import diffst, names
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


def test_a_damaged_folder_is_told_in_one_sentence(tmp_path: Path, star: Path):
    make_video(tmp_path / "in.mp4", num_frames=2, size=(32, 24))
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "model_index.json").write_bytes((star / "model_index.json").read_bytes())
    done = diffst("upscale", "in.mp4", "out.mkv", "--model", "broken", folder=tmp_path)
    assert done.returncode == 1
    assert "cannot load the model `broken`" in done.stderr
    assert "Traceback" not in done.stderr
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
