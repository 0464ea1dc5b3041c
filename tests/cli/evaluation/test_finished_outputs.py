"""Outputs that were made elsewhere."""

from pathlib import Path

import pytest

from diffst_cli.errors import UserError
from diffst_cli.evaluation.evaluate import score_folder
from diffst_cli.evaluation.measures import OWN
from diffst_cli.evaluation.measuring import ffmpeg_output
from tests.cli.evaluation.test_measuring import write_luma
from tests.cli.evaluation.test_tracks import NUM_FRAMES, moving_frames


def test_finished_outputs_of_another_rate_are_refused(tmp_path: Path):
    references, outputs = tmp_path / "references", tmp_path / "mine"
    references.mkdir()
    outputs.mkdir()
    write_luma(references / "clip.mkv", moving_frames())
    faster = ["-r", "60", "-i", f"file:{references / 'clip.mkv'}", "-c:v", "libx264", "-qp", "0"]
    ffmpeg_output([*faster, f"file:{outputs / 'clip.mp4'}"], "speed up")
    with pytest.raises(UserError, match="the output has 60 frames/s, its reference"):
        score_folder(
            outputs, references, tmp_path, [OWN["psnr"]], track="web", num_frames=NUM_FRAMES
        )
