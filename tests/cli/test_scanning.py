"""Looking through an input in a thread of its own, which a run may leave in the middle."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from diffst_cli import segments, shots
from diffst_cli.job import UpscaleJob
from diffst_cli.probe import probe
from diffst_cli.reader import Frame, FrameReader
from diffst_cli.recipe import make_recipe
from diffst_cli.run import open_output, open_work
from diffst_cli.scanning import end_of_last_frame, looked_through
from diffst_cli.stages import Stages
from diffst_cli.work import Work
from tests.cli.test_clips import rules as clip_rules
from tests.cli.test_planner import job as asked
from tests.cli.test_planner import video
from tests.media import make_video
from tests.team import wait_until

NUM_FRAMES = 48
NUM_SEEN = 18  # when the run is left; as many again may have been read ahead


@pytest.fixture
def job(tmp_path: Path) -> UpscaleJob:
    source = make_video(tmp_path / "in.mkv", size=(32, 24), num_frames=NUM_FRAMES)
    return UpscaleJob(input=source, output=tmp_path / "out.mkv", scale=Fraction(2))


def look_through(job: UpscaleJob, *, wholly: bool) -> Work:
    """The work of a run that is left when its plan is complete, or at its first segment."""
    info = probe(job.input)
    work = open_work(job, make_recipe(job, info), open_output(job, info))
    work.rules = clip_rules(clip=4, overlap=0, context=1, max_moments=8)
    work.way = "whole frames"
    with work, looked_through(job, info, work, Stages()):
        found = work.planned()
        for _ in found if wholly else (next(found),):
            pass
    return work


def test_a_plan_is_complete_only_when_all_was_looked_through(
    job: UpscaleJob, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(segments, "MIN_KEYFRAMES", 4)
    monkeypatch.setattr(segments, "MAX_KEYFRAMES", 6)
    scanned = look_through(job, wholly=True).scanned
    assert scanned is not None
    assert scanned.num_keyframes == NUM_FRAMES
    closed: list[FrameReader] = []
    close, split = FrameReader.close, shots.split_shots

    def noted(reader: FrameReader) -> None:
        close(reader)
        closed.append(reader)

    def halting(frames: Iterator[Frame]) -> Iterator[tuple[Frame, bool]]:
        for item in split(frames):
            if item[0].index == NUM_SEEN:
                wait_until(lambda: bool(closed))
            yield item

    monkeypatch.setattr(FrameReader, "close", noted)
    monkeypatch.setattr(shots, "split_shots", halting)
    assert look_through(job, wholly=False).scanned is None, "the run was left in the middle"


@pytest.mark.parametrize(
    ("facts", "options", "expected"),
    [
        ({}, {}, Fraction(3) + Fraction(1, 25)),
        ({"is_variable": True}, {}, Fraction(4)),
        ({"is_variable": True, "start_seconds": Fraction(1)}, {}, Fraction(5)),
        ({"is_variable": True, "duration_seconds": Fraction(2)}, {}, Fraction(3) + Fraction(1, 25)),
        ({"is_variable": True, "duration_seconds": Fraction(3001, 1000)}, {}, Fraction(76, 25)),
        ({"is_variable": True, "duration_seconds": Fraction(301, 100)}, {}, Fraction(301, 100)),
        ({"is_variable": True, "duration_seconds": None}, {}, Fraction(3) + Fraction(1, 25)),
        ({"is_variable": True}, {"start": Fraction(1), "duration": Fraction(5, 2)}, Fraction(7, 2)),
        ({"is_variable": True}, {"duration": Fraction(7, 2)}, Fraction(7, 2)),
        ({}, {"duration": Fraction(301, 100), "fps": Fraction(60)}, Fraction(301, 100)),
        # No two frames crowd together: not of a constant rate, nor within a clock's rounding.
        ({}, {"duration": Fraction(301, 100), "fps_x": Fraction(2)}, Fraction(76, 25)),
        ({"is_variable": True}, {"duration": Fraction(3001, 1000)}, Fraction(76, 25)),
        ({"is_variable": True}, {"duration": Fraction(301, 100)}, Fraction(301, 100)),
    ],
)
def test_the_last_frame_is_shown_until(
    facts: dict[str, Any], options: dict[str, Any], expected: Fraction
):
    assert end_of_last_frame(Fraction(3), video(**facts), asked(**options)) == expected


def test_a_file_that_was_cut_short_is_not_held_to_its_headers_end():
    info = video(is_variable=True)
    assert end_of_last_frame(Fraction(3), info, asked(), is_whole=False) == Fraction(76, 25)
