import json
import shutil
import subprocess
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import pytest
import torch

from diffst.flow import neighbour_flows
from diffst.training.dataset import WindowDataset
from diffst.training.prepare import (
    HELD_OUT,
    VALIDATION,
    VARIANTS,
    crop_to_grid,
    keyframe_flows,
    list_tasks,
    main,
    prepare,
    prepare_clip,
)


def make_clip(path: Path, *, rate: int = 25, num_frames: int = 14, size: str = "144x112") -> None:
    source = f"testsrc2=s={size}:r={rate}:d={num_frames / rate},format=yuv420p"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-f", "lavfi", "-i", source]
    subprocess.run([*command, "-crf", "10", str(path)], check=True)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "clips").mkdir(parents=True)
    (folder / "photos").mkdir()
    for name in ("street", "intel_cars", "gopro_karma", "flutter_hand"):
        make_clip(folder / "clips" / f"{name}.mp4")
    make_clip(folder / "clips" / "fast.mp4", rate=60, num_frames=24)
    for index in range(2):
        photo = np.random.default_rng(index).integers(0, 256, (80, 100, 3), np.uint8)
        cv2.imwrite(str(folder / "photos" / f"{index}.jpg"), cv2.resize(photo, (500, 400)))
    return folder


def test_held_out_clips_are_never_tasks_and_fast_ones_come_at_two_rates(data: Path) -> None:
    tasks = {task.name: task for task in list_tasks(data, 2)}
    assert sorted(tasks) == [
        "fast",
        "fast_s2",
        "flutter_hand",
        "intel_cars",
        "street",
        "syn_0000",
        "syn_0001",
    ]
    assert len(HELD_OUT) == 11
    assert not HELD_OUT & VALIDATION
    assert [task.name for task in tasks.values() if task.part == "validation"] == ["flutter_hand"]
    assert not tasks["intel_cars"].interpolate
    assert tasks["street"].interpolate
    assert tasks["fast_s2"].stride == 2
    assert len({task.seed for task in tasks.values()}) == len(tasks)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Media of somebody else: eleven clips, two photos, and what is neither."""
    folder = tmp_path / "own"
    (folder / "clips" / "folder.mp4").mkdir(parents=True)
    (folder / "photos").mkdir()
    make_clip(folder / "clips" / "mine00.mp4")
    names = [f"mine{number:02d}.MOV" for number in range(1, 10)] + ["mine10.mkv", "._mine11.mp4"]
    for name in names:
        shutil.copyfile(folder / "clips" / "mine00.mp4", folder / "clips" / name)
    (folder / "clips" / "notes.txt").write_text("shot in May")
    for name in ("a.png", "b.JPEG"):
        cv2.imwrite(str(folder / "photos" / name), np.full((300, 300, 3), 90, np.uint8))
    return folder


def held_back(data: Path, *wanted: str) -> list[str]:
    return sorted(task.name for task in list_tasks(data, 2, wanted) if task.part == "validation")


def test_of_own_clips_some_are_for_validation(own: Path) -> None:
    assert len(list_tasks(own, 2)) == 11 + 2
    assert held_back(own) == ["mine00", "mine10"]
    assert held_back(own, "mine03", "mine07") == ["mine03", "mine07"]
    for path in (own / "clips").glob("mine0[2-9]*"):
        path.unlink()
    (own / "clips" / "mine10.mkv").unlink()
    assert held_back(own) == ["mine00"]
    (own / "clips" / "mine01.MOV").unlink()
    assert held_back(own) == []


def test_a_clip_that_is_for_validation_now_is_not_learnt_from(own: Path, tmp_path: Path) -> None:
    task = next(task for task in list_tasks(own, 0) if task.name == "mine01")
    prepare_clip(task, tmp_path)
    (now,) = (task for task in list_tasks(own, 0, ["mine01"]) if task.part == "validation")
    made = (tmp_path / "train" / "mine01" / "hr.npy").stat()
    prepare_clip(now, tmp_path)
    assert not (tmp_path / "train" / "mine01").exists()
    assert (tmp_path / "validation" / "mine01" / "hr.npy").stat() == made


def test_what_is_wrong_is_said_in_a_sentence(own: Path) -> None:
    def said(*more: str, data: Path = own) -> str:
        with pytest.raises(SystemExit) as stopped:
            main([str(own / "out"), "--data", str(data), *more])
        return str(stopped.value.code)  # Python prints a text and exits with 1

    assert said(data=own / "nowhere") == f"error: `{own}/nowhere` needs videos in `clips/`"
    assert said("--validation", "yours") == (
        "error: there is no clip `yours` to hold out for validation"
    )
    shutil.copyfile(own / "clips" / "mine10.mkv", own / "clips" / "mine10.mp4")
    assert "would have the name `mine10`" in said()
    broken = own / "clips" / "mine10.mp4"
    broken.rename(own / "clips" / "broken.mp4").write_bytes(b"no video")
    assert f"error: cannot read `{own}/clips/broken.mp4`: " in said()
    (own / "clips" / "broken.mp4").unlink()
    shutil.rmtree(own / "photos")
    assert "needs pictures in `photos/`" in said()


def test_sources_that_cannot_be_used_are_named(own: Path, tmp_path: Path) -> None:
    make_clip(own / "clips" / "low.mp4", size="64x24")
    (own / "photos" / "a.png").write_bytes(b"no picture")
    tasks = {task.name: task for task in list_tasks(own, 1)}
    with pytest.raises(ValueError, match=r"low\.mp4` is not at least 32 pixels wide and high"):
        prepare_clip(tasks["low"], tmp_path)
    with pytest.raises(ValueError, match=r"cannot read `.*a\.png`: it is no picture"):
        prepare_clip(tasks["syn_0000"], tmp_path)


def test_real_clip_is_cropped_degraded_coded_and_described(data: Path, tmp_path: Path) -> None:
    task = next(task for task in list_tasks(data, 0) if task.name == "street")
    prepare_clip(task, tmp_path)
    folder = tmp_path / "train" / "street"
    frames = np.load(folder / "hr.npy", mmap_mode="r")
    assert (frames.shape, frames.dtype) == ((13, 96, 128, 3), np.uint8)
    meta = json.loads((folder / "meta.json").read_text())
    assert tuple(meta["variants"]) == tuple(VARIANTS)
    assert (meta["shape"], meta["frame_rate"], meta["matrix"]) == (
        [13, 96, 128, 3],
        "25",
        "smpte170m",
    )
    blocks = np.asarray(frames[::2], float).reshape(7, 24, 4, 32, 4, 3).mean(axis=(2, 4))
    for variant in VARIANTS:
        keyframes = np.load(folder / f"lr_{variant}.npy")
        assert (keyframes.shape, keyframes.dtype) == ((7, 24, 32, 3), np.uint8)
        flows = np.load(folder / f"flow_{variant}.npy")
        assert (flows.shape, flows.dtype) == ((6, 2, 24, 32, 2), np.float16)
        # The keyframes are those frames and not their neighbours, in place and in colour.
        error = np.abs(keyframes[1:] - blocks[1:]).mean()
        assert error < np.abs(keyframes[1:] - blocks[:-1]).mean()


def test_finished_clip_is_kept_and_broken_one_made_again(data: Path, tmp_path: Path) -> None:
    task = next(task for task in list_tasks(data, 0) if task.name == "fast_s2")
    folder = tmp_path / "train" / task.name
    folder.mkdir(parents=True)
    (folder / "hr.npy").write_bytes(b"half")
    prepare_clip(task, tmp_path)
    assert np.load(folder / "hr.npy").shape == (11, 96, 128, 3)
    times = [path.stat().st_mtime_ns for path in sorted(folder.iterdir())]
    prepare_clip(task, tmp_path)
    assert [path.stat().st_mtime_ns for path in sorted(folder.iterdir())] == times


def test_flow_of_a_pan_points_where_the_picture_goes() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    texture = cv2.resize(noise, (160, 96), interpolation=cv2.INTER_CUBIC)
    frames = np.stack([texture[16:80, 16 + 3 * k : 112 + 3 * k] for k in range(2)])
    flows = keyframe_flows(frames)[0].astype(np.float32)
    inner = flows[:, 16:-16, 16:-16]
    np.testing.assert_allclose(np.median(inner[0], axis=(0, 1)), [-3, 0], atol=0.1)
    np.testing.assert_allclose(np.median(inner[1], axis=(0, 1)), [3, 0], atol=0.1)


def test_motion_is_found_as_it_is_when_a_video_is_upscaled() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 48, 64, 3), np.uint8)
    found = neighbour_flows(torch.from_numpy(frames).permute(0, 3, 1, 2))
    flows = keyframe_flows(frames).transpose(0, 1, 4, 2, 3)
    np.testing.assert_array_equal(flows, found.numpy().astype(np.float16))


def test_crop_takes_the_middle_and_an_odd_number_of_frames() -> None:
    frames = np.zeros((4, 70, 100, 3), np.uint8)
    frames[:3, 3:67, 2:98] = 1
    cropped = crop_to_grid(frames)
    assert cropped.shape == (3, 64, 96, 3)
    assert cropped.min() == 1


@pytest.mark.slow
def test_whole_cache_feeds_the_dataset(data: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert prepare(cache, data, num_synthetic=2, num_workers=2) == 7
    dataset = WindowDataset(cache / "train", lr_crop=24)
    assert sorted(clip.folder.name for clip in dataset.clips if clip.synthetic) == [
        "syn_0000",
        "syn_0001",
    ]
    validation = WindowDataset(cache / "validation", lr_crop=24)
    assert [clip.folder.name for clip in validation.clips] == ["flutter_hand"]
    assert dataset.batch(2, np.random.default_rng(0)).targets.shape == (2, 3, 3, 96, 96)
