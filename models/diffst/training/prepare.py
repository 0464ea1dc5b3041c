"""Training media to a cache of ready frames: `python -m diffst.training.prepare OUT_DIR --data DATA_DIR`.

Each clip becomes a folder of memory-mappable arrays, in OUT_DIR/train or OUT_DIR/validation. `hr.npy`
(T, H, W, 3) uint8 RGB, T odd, H and W multiples of 32; for each variant v, `lr_v.npy` (Tk, H/4, W/4, 3),
the keyframes 0, 2, 4, ... degraded and really coded at the halved rate, and `flow_v.npy` (Tk - 1, 2, H/4, W/4, 2)
float16, x and y in low-resolution pixels, [k, 0] from k to k + 1 and [k, 1] back. `meta.json` is written last: a folder
without it is not complete. Clips that are there already are kept, so a broken run can go on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import zip_longest
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from diffst.flow import neighbour_flows
from diffst.training.degradation import Track, degrade_space, draw_degradation
from diffst.training.media import code_round_trip, read_clip, read_info
from diffst.training.motion import render
from diffst.training.scenes import draw_scene

HELD_OUT = frozenset({
    "et_motocross", "sam2_dog", "flutter_bee", "volcomix_doctor", "et_skateboarder_a", "et_skateboarder_b",
    "bbb_burrow", "tos_face", "tos_room", "gopro_karma", "et_polevault",
})  # fmt: skip  # clips that quality is measured on: never in a cache
# Real clips that choose between checkpoints; not for quality, as some have a sister in training.
VALIDATION = frozenset({"androidx_roof_pan_b", "et_hummingbird", "flutter_hand", "sam2_juggle_a"})
NOT_MOTION = frozenset({"intel_cars", "mdn_flower"})  # too few frames a second, or a time lapse
HALVED = frozenset({"bbb_flower_60fps"})  # 1080p with little detail at full size
# At 30 fps these move so little that every second frame is the better lesson in motion.
SLOW = frozenset({
    "androidx_building_portrait", "androidx_building_wide", "androidx_roof_pan_a", "androidx_roof_pan_b",
    "bbc_whisky_a", "bbc_whisky_b", "flutter_butterfly_a", "flutter_butterfly_b", "openh264_flower", "sam2_blocks",
    "sam2_cups", "samplelib_park", "vpf_dog_log", "volcomix_thoughtful",
})  # fmt: skip
MOST_FRAMES = 73  # of one real clip
FAST_RATE = 50  # frames a second from which every second frame is a clip of its own
SYNTHETIC_SIZE, SYNTHETIC_FRAMES, SYNTHETIC_RATE = (384, 512), 13, Fraction(30)
# Old videos differ most from each other, so each clip is made old twice.
VARIANTS: dict[str, Track] = {"clean": "clean", "web": "web", "old_a": "old", "old_b": "old"}
PHOTOS_PER_SCENE = 4
GRID = 32  # frame sizes are multiples of this

Image = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class ClipTask:
    """One clip of the cache, still to be made."""

    name: str
    """Folder name in the part of the cache."""
    part: str
    """Part of the cache, `train` or `validation`."""
    sources: tuple[Path, ...]
    """One video, or the photos of a synthetic scene."""
    synthetic: bool
    stride: int
    """Source frames from one frame of the clip to the next."""
    interpolate: bool
    """Whether frames between the keyframes are true motion."""

    @property
    def seed(self) -> int:
        """A seed that depends on the name alone."""
        return int.from_bytes(hashlib.sha256(self.name.encode()).digest()[:8], "big")


def list_tasks(data: Path, num_synthetic: int) -> list[ClipTask]:
    """All clips that the cache of a data folder holds, real and synthetic taking turns while both last.

    Args:
        data: Folder with `clips/*.mp4` and `photos/*.jpg`.
        num_synthetic: Synthetic clips to make.

    Raises:
        FileNotFoundError: There are no clips, or no photos though synthetic clips are asked for.
    """
    clips = [path for path in sorted((data / "clips").glob("*.mp4")) if path.stem not in HELD_OUT]
    photos = sorted((data / "photos").glob("*.jpg"))
    if not clips or (num_synthetic and not photos):
        raise FileNotFoundError(f"`{data}` needs `clips/*.mp4` and `photos/*.jpg`")
    real = [task for path in clips for task in _real_tasks(path)]
    # Mixed, so that a cache that is still being filled is already varied.
    real = [real[index] for index in np.random.default_rng(0).permutation(len(real))]
    synthetic = [_synthetic_task(index, photos) for index in range(num_synthetic)]
    pairs = zip_longest(real, synthetic)
    return [task for pair in pairs for task in pair if task is not None]


def _real_tasks(path: Path) -> Iterator[ClipTask]:
    strides = [2, 1] if path.stem in SLOW or read_info(path).frame_rate >= FAST_RATE else [1]
    for stride in strides:
        name = path.stem if stride == 1 else f"{path.stem}_s{stride}"
        yield ClipTask(
            name=name,
            part="validation" if path.stem in VALIDATION else "train",
            sources=(path,),
            synthetic=False,
            stride=stride,
            interpolate=path.stem not in NOT_MOTION,
        )


def _synthetic_task(index: int, photos: list[Path]) -> ClipTask:
    rng = np.random.default_rng([7, index])
    others = rng.choice(len(photos), PHOTOS_PER_SCENE - 1)
    chosen = (photos[index % len(photos)], *(photos[other] for other in others))
    return ClipTask(
        name=f"syn_{index:04d}",
        part="train",
        sources=chosen,
        synthetic=True,
        stride=1,
        interpolate=True,
    )


def prepare_clip(task: ClipTask, out_dir: Path) -> None:
    """Make one clip's folder; leaves a complete one as it is and replaces a broken one."""
    folder = out_dir / task.part / task.name
    if (folder / "meta.json").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)  # clips are what is made side by side
    rng = np.random.default_rng(task.seed)
    frames, frame_rate, matrix = _render_frames(task, rng) if task.synthetic else _read_frames(task)
    np.save(folder / "hr.npy", frames)
    variants = {}
    for variant, track in VARIANTS.items():
        degradation = draw_degradation(track, rng)
        keyframes = degrade_space(frames[::2], degradation)
        for codec in degradation.codecs:
            keyframes = code_round_trip(keyframes, codec, frame_rate=frame_rate / 2, matrix=matrix)
        np.save(folder / f"lr_{variant}.npy", keyframes)
        np.save(folder / f"flow_{variant}.npy", keyframe_flows(keyframes))
        variants[variant] = asdict(degradation)
    meta = {
        "name": task.name,
        "sources": [path.name for path in task.sources],
        "synthetic": task.synthetic,
        "interpolate": task.interpolate,
        "frame_rate": str(frame_rate),
        "matrix": matrix,
        "shape": frames.shape,
        "variants": variants,
    }
    partial = folder / "meta.json.partial"
    partial.write_text(json.dumps(meta, indent=1))
    partial.rename(folder / "meta.json")


def _read_frames(task: ClipTask) -> tuple[Image, Fraction, str]:
    info = read_info(task.sources[0])
    frames = read_clip(info, divisor=2 if task.sources[0].stem in HALVED else 1)[:: task.stride]
    return crop_to_grid(frames[:MOST_FRAMES]), info.frame_rate / task.stride, info.matrix


def _render_frames(task: ClipTask, rng: np.random.Generator) -> tuple[Image, Fraction, str]:
    photos = [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in task.sources]
    scene = draw_scene(photos, SYNTHETIC_SIZE, SYNTHETIC_FRAMES, rng)
    return render(scene, SYNTHETIC_FRAMES), SYNTHETIC_RATE, "bt709"


def crop_to_grid(frames: Image) -> Image:
    """The middle of the frames with sides that are multiples of 32, and an odd number of them."""
    count, height, width, _ = frames.shape
    new_height, new_width = height // GRID * GRID, width // GRID * GRID
    top, left = (height - new_height) // 2, (width - new_width) // 2
    return frames[: count - 1 + count % 2, top : top + new_height, left : left + new_width]


def keyframe_flows(keyframes: Image) -> NDArray[np.float16]:
    """What `neighbour_flows` finds, channels last, (Tk - 1, 2, h, w, 2): [k, 0] from k to k + 1, [k, 1] back."""
    flows = neighbour_flows(torch.tensor(keyframes).permute(0, 3, 1, 2))
    return flows.permute(0, 1, 3, 4, 2).numpy().astype(np.float16)


def prepare(out_dir: Path, data: Path, *, num_synthetic: int, num_workers: int) -> int:
    """Make the whole cache; gives the number of clips in it. A failed clip stops the run with its error."""
    tasks = list_tasks(data, num_synthetic)
    # Spawned, because a fork would copy locks that torch's threads may hold.
    with ProcessPoolExecutor(num_workers, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(prepare_clip, task, out_dir): task.name for task in tasks}
        for done, future in enumerate(as_completed(futures), start=1):
            future.result()
            sys.stderr.write(f"{done}/{len(tasks)} {futures[future]}\n")
    return len(tasks)


def main(arguments: list[str] | None = None) -> None:
    """Run `prepare` from the command line."""
    parser = argparse.ArgumentParser(description="prepare training media for `diffst train`")
    parser.add_argument(
        "out_dir", type=Path, help="folder of the cache: gets train/ and validation/"
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with clips/ and photos/")
    parser.add_argument("--num-synthetic", type=int, default=320, help="synthetic clips to make")
    parser.add_argument("--workers", type=int, default=2, help="clips made at once")
    options = parser.parse_args(arguments)
    prepare(
        options.out_dir,
        options.data,
        num_synthetic=options.num_synthetic,
        num_workers=options.workers,
    )


if __name__ == "__main__":
    main()
