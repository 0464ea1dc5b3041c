"""How a video is cut into clips must not show in the result."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from diffst.upscaler import DiffSTUpscaler, load_model
from diffst_cli.job import UpscaleJob
from diffst_cli.probe import probe
from diffst_cli.reader import read_frames
from diffst_cli.run import run_job
from tests.media import make_video

LEAST_DECIBELS = 45.0  # between two clip lengths; the project's promise


def test_two_clip_lengths_give_the_same_video_to_the_eye(tmp_path: Path):
    source = make_video(tmp_path / "in.mp4", num_frames=25)
    results = []
    for clip_keyframes in (16, 6):
        model = load_model("nano", device="cpu", precision="fp32")
        assert isinstance(model, DiffSTUpscaler)
        model.rules = replace(model.rules, clip_keyframes=clip_keyframes)
        output = tmp_path / f"{clip_keyframes}.mkv"
        job = UpscaleJob(
            input=source, output=output, scale=Fraction(2), fps_x=Fraction(2), codec="ffv1"
        )
        assert run_job(job, model=model).frames_out == 50
        results.append(np.stack([frame.image for frame in read_frames(probe(output))]))
    error = np.square(results[0].astype(float) - results[1]).mean((1, 2, 3))
    decibels = 10 * np.log10(255**2 / np.maximum(error, 1e-9))
    assert decibels.min() >= LEAST_DECIBELS, decibels
