import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch

from diffst.training import dataset as dataset_module
from diffst.training.dataset import WindowDataset


def write_clip(
    cache: Path,
    name: str,
    *,
    num_keyframes: int = 8,
    size: tuple[int, int] = (12, 16),
    synthetic: bool = False,
    interpolate: bool = True,
    variants: tuple[str, ...] = ("clean", "web_a"),
    kernels: Mapping[str, str] = MappingProxyType({}),
) -> Path:
    """A complete clip whose frames are noise of 4 x 4 blocks, so that a keyframe is its truth's every 4th pixel."""
    folder = cache / name
    folder.mkdir(parents=True)
    rng = np.random.default_rng(len(name))
    small = rng.integers(0, 256, (2 * num_keyframes - 1, *size, 3), np.uint8)
    np.save(folder / "hr.npy", small.repeat(4, axis=1).repeat(4, axis=2))
    flows = rng.normal(0, 1, (num_keyframes - 1, 2, *size, 2)).astype(np.float16)
    for variant in variants:
        np.save(folder / f"lr_{variant}.npy", small[::2])
        np.save(folder / f"flow_{variant}.npy", flows)
    meta = {
        "synthetic": synthetic,
        "interpolate": interpolate,
        "shape": [2 * num_keyframes - 1, 4 * size[0], 4 * size[1], 3],
        "variants": {
            name: {"track": name.split("_")[0], "kernel": kernels.get(name, "bicubic")}
            for name in variants
        },
    }
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder


@pytest.mark.parametrize("num_keyframes", [5, 6, 7])
def test_first_and_last_target_are_the_truth_of_the_inner_keyframes(
    tmp_path: Path, num_keyframes: int
) -> None:
    write_clip(tmp_path, "a")
    dataset = WindowDataset(tmp_path, lr_crop=8, num_keyframes=num_keyframes)
    rng = np.random.default_rng(0)
    for _ in range(40):
        window = dataset.sample(rng)
        assert window.keyframes.shape == (num_keyframes, 8, 8, 3)
        assert window.flows.shape == (num_keyframes - 1, 2, 8, 8, 2)
        assert window.targets.shape == (2 * num_keyframes - 9, 32, 32, 3)
        kept = window.keyframes[2 : num_keyframes - 2]
        np.testing.assert_array_equal(window.targets[::2, ::4, ::4], kept)


def test_windows_hold_no_file_open(tmp_path: Path) -> None:
    write_clip(tmp_path, "a")
    window = WindowDataset(tmp_path, lr_crop=8, num_keyframes=5).sample(np.random.default_rng(0))
    for part in (window.keyframes, window.flows, window.targets):
        assert not isinstance(part.base, np.memmap)
        assert part.base is None or part.base.base is None


def test_targets_between_keyframes_are_the_dropped_frames(tmp_path: Path) -> None:
    folder = write_clip(tmp_path, "a", num_keyframes=6)
    dropped = np.load(folder / "hr.npy")[5]
    levels = np.bincount(dropped.ravel(), minlength=256)
    window = WindowDataset(tmp_path, lr_crop=12).sample(np.random.default_rng(0))
    # The crop is as high as the clip, so at most 4 of its 16 columns are cut off.
    assert (np.bincount(window.targets[1].ravel(), minlength=256) <= levels).all()


def test_incomplete_clips_are_left_out(tmp_path: Path) -> None:
    write_clip(tmp_path, "a")
    (write_clip(tmp_path, "b") / "meta.json").unlink()
    assert len(WindowDataset(tmp_path, lr_crop=8).clips) == 1


def test_clips_too_short_or_too_small_are_left_out(tmp_path: Path) -> None:
    write_clip(tmp_path, "short", num_keyframes=5)
    write_clip(tmp_path, "small", size=(6, 16))
    with pytest.raises(ValueError, match="holds 6 keyframes of 8 px"):
        WindowDataset(tmp_path, lr_crop=8)
    with pytest.raises(ValueError, match="at least 5 keyframes, not 4"):
        WindowDataset(tmp_path, lr_crop=8, num_keyframes=4)
    write_clip(tmp_path, "fit")
    assert WindowDataset(tmp_path, lr_crop=8).left_out == [
        "1 of 3 clips are used; the others are not at least 32 pixels wide and high and 11 frames long"
    ]
    assert WindowDataset(tmp_path, lr_crop=4, num_keyframes=5).left_out == []


def test_half_of_the_windows_are_synthetic_whatever_the_counts(tmp_path: Path) -> None:
    write_clip(tmp_path, "real", interpolate=False)
    for index in range(5):
        write_clip(tmp_path, f"syn_{index}", synthetic=True)
    batch = WindowDataset(tmp_path, lr_crop=8).batch(200, np.random.default_rng(0))
    # Here only real clips are not for interpolation. Three standard deviations are 21.
    assert abs(int(batch.interpolate.sum()) - 100) <= 21


def test_textured_places_are_preferred_to_flat_ones(tmp_path: Path) -> None:
    folder = write_clip(tmp_path, "a", size=(16, 160), variants=("clean",))
    frames = np.load(folder / "lr_clean.npy")
    frames[:, :, :120] = 50
    np.save(folder / "lr_clean.npy", frames)
    dataset = WindowDataset(tmp_path, lr_crop=16)
    rng = np.random.default_rng(0)
    flat = [dataset.sample(rng).keyframes.std() == 0 for _ in range(100)]
    # Evenly drawn, 72 of 100 would be flat; with four candidates 0.72^4 = 27 can be nothing else.
    assert sum(flat) <= 45


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_share_of_the_windows_is_faded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    write_clip(tmp_path, "a")
    monkeypatch.setattr(
        dataset_module,
        "lower_contrast",
        lambda window, rng: replace(window, targets=np.zeros_like(window.targets)),
    )
    dataset = WindowDataset(tmp_path, lr_crop=8, faded_share=share)
    rng = np.random.default_rng(0)
    faded = sum(not dataset.sample(rng).targets.any() for _ in range(200))
    assert abs(faded - 200 * share) <= 3 * (200 * share * (1 - share)) ** 0.5


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_step_has_the_same_windows_whoever_makes_them_and_wherever_a_run_began(
    tmp_path: Path, num_workers: int
) -> None:
    write_clip(tmp_path, "a")
    dataset = WindowDataset(tmp_path, lr_crop=8, seed=3)
    whole = list(islice(dataset.batches(2), 5))
    batches = dataset.batches(2, first_step=2, num_workers=num_workers)
    for expected, made in zip(whole[2:], batches, strict=False):
        torch.testing.assert_close(made.keyframes, expected.keyframes)
        torch.testing.assert_close(made.flows, expected.flows)
    assert not torch.equal(whole[0].keyframes, whole[1].keyframes)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_error_of_a_batch_reaches_the_reader(tmp_path: Path, num_workers: int) -> None:
    folder = write_clip(tmp_path, "a", variants=("clean",))
    dataset = WindowDataset(tmp_path, lr_crop=8)
    (folder / "hr.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"hr\.npy"):
        next(dataset.batches(2, num_workers=num_workers))


def test_the_usual_way_to_shrink_a_video_is_shown_most_often(tmp_path: Path) -> None:
    kernels = {"web_a": "area", "web_b": "bicubic_sharp"}
    write_clip(tmp_path, "a", variants=tuple(kernels), kernels=kernels)
    (clip,) = WindowDataset(tmp_path, lr_crop=8).clips
    assert clip.variants == pytest.approx({"web_a": 0.3 / 2.3, "web_b": 2.0 / 2.3})


def test_clips_are_the_same_wherever_they_lie(tmp_path: Path) -> None:
    write_clip(tmp_path / "here", "a")
    write_clip(tmp_path / "there", "a")
    write_clip(tmp_path / "other", "b")
    here, there, other = (
        WindowDataset(tmp_path / name, lr_crop=8).described for name in ("here", "there", "other")
    )
    assert here == there != other
    assert WindowDataset(tmp_path / "here", lr_crop=4).described != here
