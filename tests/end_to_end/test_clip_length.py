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


def test_two_clip_lengths_give_the_same_video_to_the_bit(tmp_path: Path):
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
    long, short = results
    assert np.array_equal(long, short)
