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
from collections import Counter
from collections.abc import Collection, Iterator
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
from diffst.training.suffixes import IMAGE_SUFFIXES, VIDEO_SUFFIXES

HELD_OUT = frozenset({
    "et_motocross", "sam2_dog", "flutter_bee", "volcomix_doctor", "et_skateboarder_a", "et_skateboarder_b",
    "bbb_burrow", "tos_face", "tos_room", "gopro_karma", "et_polevault",
})  # fmt: skip  # clips that quality is measured on: never in a cache
# Real clips that choose between checkpoints; not for quality, as some have a sister in training.
VALIDATION = frozenset({"androidx_roof_pan_b", "et_hummingbird", "flutter_hand", "sam2_juggle_a"})
VALIDATION_EVERY = 10  # clips of others, of which the first is for validation
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
PARTS = ("train", "validation")
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


def list_tasks(data: Path, num_synthetic: int, validation: Collection[str] = ()) -> list[ClipTask]:
    """All clips that the cache of a data folder holds, real and synthetic taking turns while both last.

    Args:
        data: Folder with videos in `clips/` and, for synthetic clips, pictures in `photos/`.
        num_synthetic: Synthetic clips to make.
        validation: See `for_validation`.

    Raises:
        FileNotFoundError: There are no clips, or no photos though synthetic clips are asked for.
        ValueError: A clip cannot be read, two would have one name, or there is none of a wanted name.
    """
    found = _files(data / "clips", VIDEO_SUFFIXES)
    clips = [path for path in found if path.stem not in HELD_OUT]
    photos = _files(data / "photos", IMAGE_SUFFIXES)
    if not clips:
        raise FileNotFoundError(f"`{data}` needs videos in `clips/`")
    if num_synthetic and not photos:
        raise FileNotFoundError(
            f"`{data}` needs pictures in `photos/`, unless it is for `--num-synthetic 0`"
        )
    held_back = for_validation([path.stem for path in clips], validation)
    real = [task for path in clips for task in _real_tasks(path, held_back)]
    # Mixed, so that a cache that is still being filled is already varied.
    real = [real[index] for index in np.random.default_rng(0).permutation(len(real))]
    synthetic = [_synthetic_task(index, photos) for index in range(num_synthetic)]
    name, count = Counter(task.name for task in (*real, *synthetic)).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{count} clips of `{data}` would have the name `{name}`; rename one")
    pairs = zip_longest(real, synthetic)
    return [task for pair in pairs for task in pair if task is not None]


def _files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """A folder's files with one of these suffixes, in order, without hidden ones such as macOS's `._clip.mp4`."""
    return [
        path
        for path in sorted(folder.glob("[!.]*"))
        if path.suffix.lower() in suffixes and path.is_file()
    ]


def for_validation(names: list[str], wanted: Collection[str]) -> frozenset[str]:
    """Names of the clips that choose between checkpoints and are not learnt from.

    Args:
        names: Of all real clips, in order.
        wanted: Some of them. Where there is none, those of `VALIDATION` that are there; where there is none of these
            either, one in `VALIDATION_EVERY`, from the first on, of two clips or more.

    Raises:
        ValueError: There is no clip of a wanted name.
    """
    for name in wanted:
        if name not in names:
            raise ValueError(f"there is no clip `{name}` to hold out for validation")
    some = names[::VALIDATION_EVERY] if len(names) > 1 else []
    return frozenset(wanted) or VALIDATION.intersection(names) or frozenset(some)


def _real_tasks(path: Path, held_back: Collection[str]) -> Iterator[ClipTask]:
    strides = [2, 1] if path.stem in SLOW or read_info(path).frame_rate >= FAST_RATE else [1]
    for stride in strides:
        name = path.stem if stride == 1 else f"{path.stem}_s{stride}"
        yield ClipTask(
            name=name,
            part="validation" if path.stem in held_back else "train",
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
    """Make one clip's folder; leaves a complete one as it is and replaces a broken one.

    Raises:
        ValueError: A source cannot be read, or is too small.
    """
    folder = out_dir / task.part / task.name
    _move_here(folder, out_dir)
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
    partial.write_text(json.dumps(meta, indent=1), encoding="utf-8")
    partial.rename(folder / "meta.json")


def _move_here(folder: Path, out_dir: Path) -> None:
    """Take a complete clip over from the other part, where it was before the clips for validation were others."""
    for part in PARTS:
        older = out_dir / part / folder.name
        if older != folder and (older / "meta.json").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.parent.mkdir(parents=True, exist_ok=True)
            older.rename(folder)


def _read_frames(task: ClipTask) -> tuple[Image, Fraction, str]:
    info = read_info(task.sources[0])
    frames = read_clip(info, divisor=2 if task.sources[0].stem in HALVED else 1)[:: task.stride]
    cropped = crop_to_grid(frames[:MOST_FRAMES])
    if not cropped.size:
        raise ValueError(f"`{info.path}` is not at least {GRID} pixels wide and high")
    return cropped, info.frame_rate / task.stride, info.matrix


def _render_frames(task: ClipTask, rng: np.random.Generator) -> tuple[Image, Fraction, str]:
    photos = [_read_photo(path) for path in task.sources]
    scene = draw_scene(photos, SYNTHETIC_SIZE, SYNTHETIC_FRAMES, rng)
    return render(scene, SYNTHETIC_FRAMES), SYNTHETIC_RATE, "bt709"


def _read_photo(path: Path) -> Image:
    image = cv2.imread(str(path))
    if image is None:
        raise ValueError(f"cannot read `{path}`: it is no picture that OpenCV knows")
    rgb: Image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return rgb


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


def prepare(
    out_dir: Path,
    data: Path,
    *,
    num_synthetic: int,
    num_workers: int,
    validation: Collection[str] = (),
) -> int:
    """Make the whole cache; gives the number of clips in it. A failed clip stops the run with its error."""
    tasks = list_tasks(data, num_synthetic, validation)
    # Spawned, because a fork would copy locks that torch's threads may hold.
    with ProcessPoolExecutor(num_workers, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(prepare_clip, task, out_dir): task.name for task in tasks}
        try:
            for done, future in enumerate(as_completed(futures), start=1):
                future.result()
                sys.stderr.write(f"{done}/{len(tasks)} {futures[future]}\n")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if not any(task.part == "validation" for task in tasks):
        sys.stderr.write("none is for validation, since there is but one video\n")
    return len(tasks)


def main(arguments: list[str] | None = None) -> None:
    """Run `prepare` from the command line; what its user can put right ends it with a sentence and exit code 1."""
    parser = argparse.ArgumentParser(description="prepare training media for `diffst train`")
    parser.add_argument(
        "out_dir", type=Path, help="folder of the cache: gets train/ and validation/"
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with clips/ and photos/")
    parser.add_argument("--num-synthetic", type=int, default=320, help="synthetic clips to make")
    parser.add_argument("--workers", type=int, default=2, help="clips made at once")
    parser.add_argument(
        "--validation",
        action="append",
        default=[],
        metavar="NAME",
        help="a video for validation/, without its suffix; may be repeated (default: the project's own four, "
        f"or else one in {VALIDATION_EVERY} of two or more)",
    )
    options = parser.parse_args(arguments)
    try:
        prepare(
            options.out_dir,
            options.data,
            num_synthetic=options.num_synthetic,
            num_workers=options.workers,
            validation=options.validation,
        )
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
