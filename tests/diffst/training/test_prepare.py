import json
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
    prepare,
    prepare_clip,
)


def make_clip(path: Path, *, rate: int = 25, num_frames: int = 14) -> None:
    source = f"testsrc2=s=144x112:r={rate}:d={num_frames / rate},format=yuv420p"
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


def test_missing_media_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="needs"):
        list_tasks(tmp_path, 1)


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
