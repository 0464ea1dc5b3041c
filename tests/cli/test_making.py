"""Making a part of a video from its middle: only with the pictures that decoding all of it gives."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from diffst_cli import making, segments
from diffst_cli.reader import Frame
from diffst_cli.run import run_job
from tests.cli.test_resume import NUM_FRAMES, content, job, stop_after, undisturbed
from tests.cli.test_run import Notes
from tests.fakes import BilinearModel
from tests.media import make_video


def test_a_picture_that_is_another_after_a_jump_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(segments, "MIN_KEYFRAMES", 4)
    monkeypatch.setattr(segments, "MAX_KEYFRAMES", 6)
    source = make_video(tmp_path / "clip.mp4", size=(32, 24), num_frames=NUM_FRAMES)
    asked = job(source, tmp_path / "out.mp4")
    stop_after(1, asked)
    frames = making._Entry.frames
    spoilt: list[int] = []

    def with_another_picture(entry: making._Entry) -> Iterator[Frame]:
        """As of a decoder that lacks what the picture refers to; the first one after the jump is right."""
        for number, frame in enumerate(frames(entry)):
            is_other = entry._is_middle and number == 2
            spoilt.extend([frame.index] * is_other)
            yield replace(frame, image=np.flip(frame.image, 1).copy()) if is_other else frame

    monkeypatch.setattr(making._Entry, "frames", with_another_picture)
    notes = Notes()
    assert run_job(asked, model=BilinearModel(), reporter=notes).frames_resumed > 0
    assert len(spoilt) == 1
    (warning,) = notes.warnings
    assert "cannot be entered exactly" in warning
    assert content(asked.output) == undisturbed(asked, tmp_path / "whole")
