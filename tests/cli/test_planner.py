from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from diffst.upscaler import ModelRules
from diffst_cli.job import UpscaleJob
from diffst_cli.planner import choose_clip_rules, end_of_last_frame, estimate_frames, queue_frames
from diffst_cli.probe import VideoInfo


def job(**options: Any) -> UpscaleJob:
    return UpscaleJob(input=Path("in.mp4"), output=Path("out.mp4"), **options)


def video(**facts: Any) -> Any:
    """A `VideoInfo` of which only some facts matter."""
    defaults: dict[str, Any] = {
        "frame_rate": Fraction(25),
        "is_variable": False,
        "origin_seconds": Fraction(0),
        "start_seconds": Fraction(0),
        "duration_seconds": Fraction(4),
        "num_frames": 100,
    }
    info = object.__new__(VideoInfo)
    for name, value in {**defaults, **facts}.items():
        object.__setattr__(info, name, value)
    return info


@pytest.mark.parametrize(
    ("facts", "options", "expected"),
    [
        ({}, {}, 100),
        ({"num_frames": 99}, {"fps_x": Fraction(2)}, 198),
        ({}, {"fps": Fraction(60)}, 240),
        ({}, {"start": Fraction(3)}, 25),
        ({}, {"start": Fraction(3), "duration": Fraction(5)}, 25),
        ({}, {"duration": Fraction(1, 2), "fps_x": Fraction(2)}, 25),
        ({}, {"start": Fraction(9)}, 0),
        ({"num_frames": None}, {}, 100),
        ({"duration_seconds": None}, {}, None),
    ],
)
def test_the_number_of_frames_is_estimated(
    facts: dict[str, Any], options: dict[str, Any], expected: int | None
):
    assert estimate_frames(video(**facts), job(**options)) == expected


@pytest.mark.parametrize(
    ("facts", "options", "expected"),
    [
        ({}, {}, Fraction(3) + Fraction(1, 25)),
        ({"is_variable": True}, {}, Fraction(4)),
        ({"is_variable": True, "start_seconds": Fraction(1)}, {}, Fraction(5)),
        ({"is_variable": True, "duration_seconds": Fraction(2)}, {}, Fraction(3) + Fraction(1, 25)),
        ({"is_variable": True, "duration_seconds": None}, {}, Fraction(3) + Fraction(1, 25)),
        ({"is_variable": True}, {"start": Fraction(1), "duration": Fraction(5, 2)}, Fraction(7, 2)),
        ({"is_variable": True}, {"duration": Fraction(7, 2)}, Fraction(7, 2)),
    ],
)
def test_the_last_frame_is_shown_until(
    facts: dict[str, Any], options: dict[str, Any], expected: Fraction
):
    assert end_of_last_frame(Fraction(3), video(**facts), job(**options)) == expected


def test_clips_of_huge_frames_are_short():
    rules = ModelRules(
        clip_keyframes=16,
        overlap_keyframes=2,
        context_keyframes=2,
    )

    def chosen(width: int, height: int, scale: int) -> tuple[int, int]:
        pixels = width * height
        cut = choose_clip_rules(rules, frame_pixels=pixels, output_bytes=pixels * scale**2 * 3)
        return cut.clip_keyframes, cut.max_moments

    assert chosen(320, 180, 4) == (16, 194)
    assert chosen(1920, 1080, 4) == (16, 5)
    assert chosen(3840, 2160, 1) == (4, 21)
    assert chosen(16384, 16384, 1) == (2, 2)


@pytest.mark.parametrize(("frame_bytes", "expected"), [(100, 16), (8 * 2**20, 8), (2**30, 2)])
def test_few_large_frames_wait_between_threads(frame_bytes: int, expected: int):
    assert queue_frames(frame_bytes) == expected
