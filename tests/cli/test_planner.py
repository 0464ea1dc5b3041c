from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffst import lanes
from diffst.upscaler import ModelRules
from diffst.wan.upscaler import RULES as WAN_RULES
from diffst_cli import planner
from diffst_cli.clips import ClipRules, make_clips
from diffst_cli.job import UpscaleJob
from diffst_cli.planner import (
    RunPlan,
    choose_clip_rules,
    estimate_frames,
    kind_of,
    num_clips,
    plan_run,
    queue_frames,
)
from diffst_cli.probe import VideoInfo
from diffst_cli.reader import Frame
from diffst_cli.timing import Timeline
from tests.cli.test_clips import rules as clip_rules


def job(**options: Any) -> UpscaleJob:
    return UpscaleJob(input=Path("in.mp4"), output=Path("out.mp4"), **options)


def video(**facts: Any) -> Any:
    """A `VideoInfo` of which only some facts matter."""
    defaults: dict[str, Any] = {
        "container": "matroska,webm",
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
        ({}, {"fps": Fraction(1, 1000)}, 1),
        ({}, {"duration": Fraction(1, 10**9)}, 1),
        ({"num_frames": None}, {}, 100),
        ({"duration_seconds": None}, {}, None),
    ],
)
def test_the_number_of_frames_is_estimated(
    facts: dict[str, Any], options: dict[str, Any], expected: int | None
):
    assert estimate_frames(video(**facts), job(**options)) == expected


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


@pytest.mark.parametrize(
    ("overlap", "size", "expected"),
    [
        (0, (320, 180), 180),
        (0, (1280, 720), 72),
        (0, (3840, 2160), 8),
        (0, (16384, 16384), 1),
        (2, (3840, 2160), 180),
    ],
)
def test_an_interrupt_loses_minutes_however_large_pictures_are(
    overlap: int, size: tuple[int, int], expected: int
):
    rules = ModelRules(clip_keyframes=12, overlap_keyframes=overlap, context_keyframes=4)
    pixels = size[0] * size[1]
    cut = choose_clip_rules(rules, frame_pixels=pixels, output_bytes=pixels * 3)
    assert cut.segment_keyframes == expected


@pytest.mark.parametrize(("frame_bytes", "expected"), [(100, 16), (8 * 2**20, 8), (2**30, 2)])
def test_few_large_frames_wait_between_threads(frame_bytes: int, expected: int):
    assert queue_frames(frame_bytes) == expected


RULES = ModelRules(clip_keyframes=12, overlap_keyframes=0, context_keyframes=4)


def planned(monkeypatch: pytest.MonkeyPatch, *, free: int, **options: Any) -> RunPlan:
    """The plan of 100 frames of 320x180 with so much memory free."""
    monkeypatch.setattr(planner, "free_bytes", lambda device: free)
    info = video(width=320, height=180, bit_depth=8)
    return plan_run(job(device="cpu", precision="fp32", **options), info, RULES)


def test_plan_follows_from_free_memory_and_limit(monkeypatch: pytest.MonkeyPatch):
    roomy = planned(monkeypatch, free=8 * 10**9)
    assert (roomy.chosen, roomy.fits, roomy.limit_bytes) == (0, True, None)
    assert roomy.budget_bytes == pytest.approx(0.9 * 8e9 - roomy.host_bytes, abs=1)
    limited = planned(monkeypatch, free=8 * 10**9, vram_limit=Fraction(21, 20))
    assert limited.limit_bytes == 1_050_000_000
    assert 0 < limited.chosen < len(limited.rungs)
    assert limited.rung.limits.tile == 512
    assert limited.clip_rules == roomy.clip_rules, "results must not depend on free memory"


def test_main_memory_beside_the_model_holds_what_waits_and_what_is_coded(
    monkeypatch: pytest.MonkeyPatch,
):
    plan = planned(monkeypatch, free=8 * 10**9, scale=Fraction(4))
    frame, output = 320 * 180, 1280 * 720
    waiting = 3 * (16 * frame + 16 * output)
    in_clips = 3 * 2 * 20 * frame  # the clip at hand and the next one, each with its context
    coded = 1.5 * (16 * frame + 60 * output)
    assert plan.host_bytes == 0.55e9 + waiting + in_clips + 0.1e9 + coded


def test_work_goes_on_as_it_was_begun_where_it_can(monkeypatch: pytest.MonkeyPatch):
    roomy, tight = (planned(monkeypatch, free=free) for free in (8 * 10**9, 1_050_000_000))
    assert roomy.rung.words != tight.rung.words
    assert roomy.keeping(tight.rung.words).rung == tight.rung
    assert tight.keeping(roomy.rung.words).rung == roomy.rung, "a CPU owes equal bits"
    card = replace(tight, device="cuda:0")
    assert card.keeping(roomy.rung.words) == card
    assert replace(roomy, device="cuda:0").keeping(tight.rung.words).rung == tight.rung
    assert (roomy.keeping(None), roomy.keeping("otherwise")) == (roomy, roomy)


def test_plan_of_a_gpu_keeps_a_reserve_on_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(planner, "choose_place", lambda job: ("cuda:0", "bf16"))
    plan = planned(monkeypatch, free=10 * 10**9)
    assert plan.budget_bytes == 8_000_000_000


def on_a_card(monkeypatch: pytest.MonkeyPatch, *, main: float) -> RunPlan:
    """The plan of 2000 frames in 720p on a card of 12 GB, with so many GB of main memory."""
    monkeypatch.setattr(planner, "choose_place", lambda job: ("cuda:0", "bf16"))
    free = {"cuda:0": 12 * 10**9, "cpu": round(main * 1e9)}
    monkeypatch.setattr(planner, "free_bytes", free.__getitem__)
    info = video(width=320, height=180, bit_depth=8, num_frames=1000)
    return plan_run(job(model="wan-1.3b", fps_x=Fraction(2)), info, WAN_RULES)


def test_a_shot_in_tiles_waits_in_main_memory_where_it_finds_room(monkeypatch: pytest.MonkeyPatch):
    roomy, tight = (on_a_card(monkeypatch, main=main) for main in (16, 3))
    assert (roomy.rung.limits.tile, roomy.rung.limits.clips_alone) == (1024, False)
    # 213 keyframes and twice as many pictures in half precision.
    shot = (6 + 0.5) * 1280 * 720 * 426 + 3 * 320 * 180 * 213
    # What a tile remembers, once more, and the pictures of its clip.
    tile = (4.88e3 + 6 * 65) * 672 * 720
    assert roomy.rung.host_bytes == pytest.approx(shot + tile, rel=0.001)
    assert roomy.host_budget_bytes == pytest.approx(0.9 * 16e9 - roomy.host_bytes, abs=1)
    assert (tight.rung.limits.tile, tight.rung.limits.clips_alone) == (1024, True)
    assert tight.fits
    assert tight.rung.words == "tiles of up to 1024 pixels, 33 frames a window, each clip alone"


def test_one_memory_holds_both(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(planner, "free_bytes", lambda device: 12 * 10**9)
    info = video(width=320, height=180, bit_depth=8, num_frames=1000)
    plan = plan_run(job(model="wan-1.3b", device="cpu", precision="bf16"), info, WAN_RULES)
    streamed, alone = (
        next(
            rung
            for rung in plan.rungs
            if rung.limits.tile == 512 and rung.limits.clips_alone is clips_alone
        )
        for clips_alone in (False, True)
    )
    assert streamed.host_bytes == alone.host_bytes == 0
    assert streamed.device_bytes > alone.device_bytes + 1e9


@pytest.mark.parametrize("num_frames", [1, 11, 12, 13, 23, 24, 100])
@pytest.mark.parametrize("factor", [1, 2])
def test_number_of_clips_is_what_the_cutter_makes(num_frames: int, factor: int):
    rules = clip_rules(clip=12, overlap=1, context=2, max_moments=99)
    times = [Fraction(number, 25) for number in range(num_frames)]
    frames = [
        (Frame(index=number, time=time, image=np.zeros((1, 1, 3), np.uint8)), False)
        for number, time in enumerate(times)
    ]
    made = list(
        make_clips(
            frames,
            Timeline(fps_x=Fraction(factor)),
            rules,
            lambda frame: frame.time + Fraction(1, 25),
        )
    )
    assert num_clips(rules, Fraction(factor), num_frames * factor) == len(made)


def test_pipeline_folder_follows_the_laws_of_its_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "model_index.json").write_text('{"_class_name": "DiffSTWanPipeline"}')
    (tmp_path / "weights.safetensors").write_bytes(b"x" * 100)
    assert kind_of(str(tmp_path)) == str(tmp_path), "a small one, whatever its class"
    monkeypatch.setattr(planner, "LARGE_BYTES", 100)
    assert kind_of(str(tmp_path)) == "wan-1.3b"
    (tmp_path / "model_index.json").write_text("[]")
    assert kind_of(str(tmp_path)) == str(tmp_path)
    assert kind_of("star-heavy") == "star-heavy"
    assert kind_of("nano") == "nano"


@pytest.mark.parametrize(
    ("size", "scale", "fps_x", "num_lanes", "gigabytes"),
    [
        ((320, 180), 4, 2, 1, 0.67),
        ((1280, 720), 2, 2, 1, 1.31),
        ((1920, 1080), 2, 2, 1, 1.59),
        ((1920, 1080), 4, 1, 1, 1.22),
        ((3840, 2160), 1, 1, 1, 1.77),
        ((3840, 2160), 2, 1, 1, 1.89),
        ((320, 180), 4, 2, 2, 0.74),
        ((640, 480), 4, 2, 2, 1.55),
        ((1280, 720), 2, 2, 2, 1.65),
        ((1920, 1080), 2, 2, 2, 2.25),
    ],
)
def test_memory_of_nano_is_near_what_was_measured(
    monkeypatch: pytest.MonkeyPatch,
    size: tuple[int, int],
    scale: int,
    fps_x: int,
    num_lanes: int,
    gigabytes: float,
):
    """Peaks of the program without its ffmpeg, docs/performance.md: hardly under them, nor far over."""
    monkeypatch.setattr(lanes, "num_lanes", lambda device: num_lanes)
    monkeypatch.setattr(planner, "free_bytes", lambda device: 10**11)
    info = video(width=size[0], height=size[1], bit_depth=8, num_frames=4)
    asked = job(device="cpu", precision="bf16", scale=Fraction(scale), fps_x=Fraction(fps_x))
    plan = plan_run(asked, info, RULES)
    coded = 16 * size[0] * size[1] + 60 * plan.size[0] * plan.size[1]
    coders = 0.1e9 + 1.5 * coded
    law = (plan.host_bytes - coders + plan.rung.device_bytes) / 1e9
    assert 0.9 * gigabytes <= law <= 1.7 * gigabytes


def test_a_clip_takes_as_many_keyframes_as_its_frames_need():
    rules = ClipRules(
        clip_keyframes=16,
        overlap_keyframes=0,
        context_keyframes=2,
        max_moments=99,
        segment_keyframes=99,
    )
    assert planner._clip_keyframes(rules, Fraction(2), 10) == 5
    assert planner._clip_keyframes(rules, Fraction(1, 2), 5) == 10


def test_a_model_that_takes_many_frames_gets_no_more_than_memory_holds():
    rules = ModelRules(clip_keyframes=16, overlap_keyframes=0, context_keyframes=2, max_frames=1000)
    chosen = choose_clip_rules(rules, frame_pixels=100, output_bytes=planner.MAX_CLIP_BYTES // 10)
    assert chosen.max_moments == 10
