from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from diffst.wan.training import clips as module
from diffst.wan.training.clips import ClipBatch, ClipWindows, Plan
from diffst.wan.training.degradation import SecondOrder
from diffst.wan.training.manifest import Clip
from tests.diffst.wan.training.footage import moving, video_clip, write_video

FRAMES = 5  # of a window
LONGEST = 6 * 8 + 1  # frames read for 5 targets, one in eight kept, from the last phase on
CROP = 16


def footage(folder: Path) -> list[Clip]:
    """A video and a picture."""
    frames = moving(LONGEST + 4, (72, 96))
    cv2.imwrite(str(folder / "photo.png"), moving(1, (72, 96), seed=3)[0][..., ::-1])
    photo = Clip(path=folder / "photo.png", kind="image", width=96, height=72)
    video = write_video(folder / "a.mp4", frames)
    return [video_clip(video, len(frames), size=(72, 96)), photo]


def windows(found: list[Clip], *, image_share: float = 0.5, **changes) -> ClipWindows:
    given = {"frames": FRAMES, "crop": CROP, "batch_windows": 2, "seed": 1}
    return ClipWindows(found, image_share=image_share, **{**given, **changes})


def same(first: ClipBatch, second: ClipBatch) -> bool:
    tensors = ("keyframes", "flows", "small", "targets")
    return first.instants == second.instants and all(
        torch.equal(getattr(first, name), getattr(second, name)) for name in tensors
    )


@pytest.fixture
def quick(monkeypatch) -> None:
    """Degradation without codecs: every fourth pixel."""

    def subsampled(frames: np.ndarray, _: SecondOrder, *, frame_rate: Fraction) -> np.ndarray:
        assert frame_rate == (25 if len(frames) > 1 else 1)  # of a picture a second's bits
        return frames[:, ::4, ::4]

    monkeypatch.setattr(module, "degrade_second_order", subsampled)


@pytest.mark.parametrize("factor", [2, 3, 8])
@pytest.mark.parametrize("num_targets", [5, 17])
def test_a_plan_has_two_keyframes_on_each_side_of_its_targets(factor: int, num_targets: int):
    for phase in range(factor):
        plan = Plan(kind="video", num_targets=num_targets, factor=factor, phase=phase)
        times = [n + alpha for n, alpha in plan.instants]
        np.testing.assert_allclose(np.diff(times), 1 / factor)
        assert times[0] == pytest.approx(2 + phase / factor)
        assert plan.num_keyframes - 4 < times[-1] <= plan.num_keyframes - 3
        assert all(0 <= alpha < 1 for _, alpha in plan.instants)


@pytest.mark.usefixtures("quick")
def test_keyframes_are_the_frames_that_are_kept_and_small_ones_show_the_same_as_targets(tmp_path):
    data = windows(footage(tmp_path), image_share=0.0)
    for step in range(6):
        batch, plan = data.batch(step, range(2)), data.plan(step)
        assert batch.targets.shape == (2, FRAMES, 3, 4 * CROP, 4 * CROP)
        assert torch.equal(batch.small, batch.targets[..., ::4, ::4])
        assert batch.keyframes.shape == (2, plan.num_keyframes, 3, CROP, CROP)
        assert batch.flows.shape == (2, plan.num_keyframes - 1, 2, 2, CROP, CROP)
        for index, (keyframe, alpha) in enumerate(batch.instants):
            if alpha == 0:
                assert torch.equal(batch.keyframes[:, keyframe], batch.small[:, index])


@pytest.mark.usefixtures("quick")
def test_one_frame_in_two_to_eight_is_kept_from_any_phase(tmp_path):
    data = windows(footage(tmp_path), image_share=0.0)
    plans = [data.plan(step) for step in range(300)]
    assert {plan.factor for plan in plans} == set(range(2, 9))
    assert {plan.phase for plan in plans if plan.factor == 8} == set(range(8))


@pytest.mark.usefixtures("quick")
def test_a_picture_is_a_clip_of_one_frame(tmp_path):
    batch = windows(footage(tmp_path), image_share=1.0).batch(0, range(3))
    assert batch.instants == [(0, 0.0)]
    assert batch.keyframes.shape == (3, 1, 3, CROP, CROP)
    assert batch.flows.shape == (3, 0, 2, 2, CROP, CROP)
    assert torch.equal(batch.keyframes, batch.small)
    assert torch.equal(batch.small, batch.targets[..., ::4, ::4])


@pytest.mark.usefixtures("quick")
def test_the_share_of_pictures_is_that_of_the_steps(tmp_path):
    data = windows(footage(tmp_path), image_share=0.25)
    kinds = [data.plan(step).kind for step in range(1000)]
    assert kinds.count("image") / 1000 == pytest.approx(0.25, abs=0.05)  # 3.6 deviations


def test_a_run_that_goes_on_sees_what_it_would_have_seen(tmp_path):
    found = footage(tmp_path)
    whole, rest = (
        windows(found, batch_windows=1).batches(first_step=step, process=0, num_processes=1)
        for step in (0, 2)
    )
    before = list(islice(whole, 2))
    assert all(same(a, b) for a, b in islice(zip(whole, rest, strict=False), 2))
    assert not same(*before)


@pytest.mark.usefixtures("quick")
def test_two_processes_see_the_halves_of_what_one_sees(tmp_path):
    found = footage(tmp_path)
    both = next(windows(found, batch_windows=4).batches(first_step=3, process=0, num_processes=1))
    halves = [
        next(windows(found).batches(first_step=3, process=number, num_processes=2))
        for number in (0, 1)
    ]
    for name in ("keyframes", "flows", "small", "targets"):
        joined = torch.cat([getattr(half, name) for half in halves])
        assert torch.equal(joined, getattr(both, name))


def test_what_a_step_is_says_nothing_about_its_windows(tmp_path, monkeypatch):
    # numpy gives the same numbers for (seed, step) and (seed, step, 0).
    drawn = []

    def window(self, plan, rng):
        drawn.append(rng.random())
        return torch.zeros(1, 3, CROP, CROP, dtype=torch.uint8), torch.zeros(1, 3, 64, 64)

    monkeypatch.setattr(ClipWindows, "_window", window)
    data = windows(footage(tmp_path), image_share=1.0)
    data.batch(5, range(3))
    assert len({*drawn, np.random.default_rng((data.seed, 5)).random()}) == 4


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"crop": 20}, "no video at least 80 pixels"),
        ({"frames": 17}, "no video at least 64 pixels wide and high and 57 frames long"),
    ],
)
def test_too_little_footage_is_said(tmp_path, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        windows(footage(tmp_path), **changes)


def test_how_many_clips_are_too_short_or_too_small_is_said(tmp_path):
    video, photo = footage(tmp_path)
    short, small = replace(video, num_frames=LONGEST - 1), replace(photo, width=63)
    found = [video, short, photo, small, replace(small, rejected=("soft: 0.1",))]
    assert windows(found).left_out == [
        "1 of 2 videos are used; "
        "the others are not at least 64 pixels wide and high and 49 frames long",
        "1 of 2 images are used; the others are not at least 64 pixels wide and high",
    ]
    assert not windows([video, small], image_share=0.0).left_out


def test_refused_clips_are_left_out(tmp_path):
    photo = footage(tmp_path)[1]
    refused = Clip(path=photo.path, kind="image", width=96, height=72, rejected=("soft: 0.1",))
    with pytest.raises(ValueError, match="no image"):
        windows([refused], image_share=1.0)
    assert windows([refused, photo], image_share=1.0).pools["image"] == [photo]


def test_a_file_that_vanished_is_named(tmp_path):
    found = footage(tmp_path)
    found[1].path.unlink()
    with pytest.raises(ValueError, match=r"cannot read .*photo\.png"):
        windows(found, image_share=1.0).batch(0, range(1))


@pytest.mark.slow
def test_worker_processes_make_the_same_batches(tmp_path):
    found = footage(tmp_path)
    given = [windows(found, num_workers=n) for n in (0, 2)]
    alone, ahead = (data.batches(first_step=5, process=0, num_processes=1) for data in given)
    assert all(same(a, b) for a, b in islice(zip(alone, ahead, strict=False), 3))
