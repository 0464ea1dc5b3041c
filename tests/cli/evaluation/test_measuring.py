import json
import re
import tempfile
from pathlib import Path

import pytest
import torch

from diffst.metrics import psnr, ssim
from diffst_cli.errors import UserError
from diffst_cli.evaluation.measuring import (
    COLOUR_FILTER,
    VMAF_MODEL,
    ffmpeg_output,
    read_luma,
    read_rgb,
    vmaf,
    vmaf_ffmpeg_path,
)
from diffst_cli.evaluation.tracks import COLOUR_TAGS

SIZE = (128, 96)  # width, height
SHAPE = (4, 96, 128)  # frames, height, width


def write_luma(path: Path, frames: torch.Tensor, pixel_format: str = "yuv420p") -> Path:
    """A lossless video with exactly these Y planes, (T, H, W) uint8, and grey chroma."""
    num_frames, height, width = frames.shape
    num_chroma = {"yuv420p": 0.5, "yuv444p": 2, "gray": 0}[pixel_format] * height * width
    chroma = torch.full((num_frames, int(num_chroma)), 128, dtype=torch.uint8)
    raw = path.with_suffix(".raw")
    raw.write_bytes(torch.cat([frames.flatten(1), chroma], dim=1).numpy().tobytes())
    shape = ["-pix_fmt", pixel_format, "-s", f"{width}x{height}"]
    ffmpeg_output(["-f", "rawvideo", *shape, "-i", str(raw), "-c:v", "ffv1", str(path)], "write")
    return path


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A damaged video and the true one, five frames of ffmpeg's moving fractal."""
    true, damaged = tmp_path / "true.mkv", tmp_path / "damaged.mkv"
    fractal = f"mandelbrot=s={SIZE[0]}x{SIZE[1]}:r=25"
    ffmpeg_output(
        [
            "-f",
            "lavfi",
            "-i",
            fractal,
            "-frames:v",
            "5",
            "-pix_fmt",
            "yuv420p",
            "-c:v",
            "ffv1",
            str(true),
        ],
        "make",
    )
    filters = "gblur=sigma=1,noise=alls=12:allf=t:all_seed=1"
    ffmpeg_output(["-i", str(true), "-vf", filters, "-c:v", "ffv1", str(damaged)], "damage")
    return damaged, true


def by_ffmpeg(name: str, key: str, damaged: Path, true: Path, folder: Path) -> list[float]:
    """What a measuring filter of ffmpeg says of each frame."""
    log = folder / f"{name}.log"
    graph = f"[0:v][1:v]{name}=stats_file={log}"
    ffmpeg_output(["-i", str(damaged), "-i", str(true), "-lavfi", graph, "-f", "null", "-"], name)
    return [float(value) for value in re.findall(rf"{key}:([\d.]+)", log.read_text())]


def test_psnr_is_that_of_ffmpeg(pair: tuple[Path, Path], tmp_path: Path):
    values = psnr(read_luma(pair[0]), read_luma(pair[1])).tolist()
    # ffmpeg prints two decimals
    assert values == pytest.approx(by_ffmpeg("psnr", "psnr_y", *pair, tmp_path), abs=0.0051)


def test_ssim_is_near_that_of_ffmpeg(pair: tuple[Path, Path], tmp_path: Path):
    values = ssim(read_luma(pair[0]), read_luma(pair[1])).tolist()
    # ffmpeg averages flat 8x8 windows, every fourth pixel, edges included
    assert values == pytest.approx(by_ffmpeg("ssim", "Y", *pair, tmp_path), abs=0.03)


@pytest.mark.parametrize("depth", [10, 12, 16])
def test_deep_luma_is_rounded_to_8_bits(tmp_path: Path, depth: int):
    levels = torch.arange(256, dtype=torch.int32) << depth - 8
    levels[100] += 1 << depth - 9  # half a level more
    raw = tmp_path / "levels.raw"
    chroma = torch.full((128,), 1 << depth - 1, dtype=torch.int32)
    raw.write_bytes(torch.cat([levels, chroma]).numpy().astype("<u2").tobytes())
    form = ["-f", "rawvideo", "-pix_fmt", f"yuv420p{depth}le", "-s", "16x16"]
    path = tmp_path / "levels.mkv"
    ffmpeg_output([*form, "-i", str(raw), "-c:v", "ffv1", str(path)], "write")
    expected = [*range(100), 101, *range(101, 256)]
    assert read_luma(path).flatten().tolist() == expected


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p", "gray"])
def test_luma_is_read_as_stored(tmp_path: Path, pixel_format: str):
    levels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16).repeat(2, 1, 1)
    levels[1] = 255 - levels[1]
    path = write_luma(tmp_path / "levels.mkv", levels, pixel_format)
    assert torch.equal(read_luma(path), levels)


def test_only_the_first_frames_are_read_when_asked(pair: tuple[Path, Path]):
    assert read_luma(pair[1], max_frames=2).shape == (2, SIZE[1], SIZE[0])


@pytest.mark.parametrize("suffix", ["mkv", "nut"])  # NUT keeps no colour tags
def test_frames_in_rgb_are_those_of_bt709(tmp_path: Path, suffix: str):
    for name, colour in {"0xC81E3C": (200, 30, 60), "0x1EC83C": (30, 200, 60)}.items():
        path = tmp_path / f"{name}.{suffix}"
        convert = "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd,format=yuv420p"
        made = ["-f", "lavfi", "-i", f"color={name}:s=32x16:d=0.12", "-vf", convert]
        ffmpeg_output([*made, "-c:v", "ffv1", "-colorspace", "bt709", str(path)], "make")
        frames = read_rgb(path, (2, 16, 32))
        assert frames.shape == (2, 16, 32, 3)
        # 8 bits of limited-range YUV are about one level of RGB
        assert (frames[0, 8, 16].int() - torch.tensor(colour)).abs().max() <= 2


def test_rgb_is_refused_rather_than_converted(tmp_path: Path):
    path = tmp_path / "rgb.mkv"
    ffmpeg_output(
        ["-f", "lavfi", "-i", "testsrc=d=0.1", "-pix_fmt", "bgr0", "-c:v", "ffv1", str(path)],
        "make",
    )
    with pytest.raises(
        UserError, match=r"read the luma of `.*rgb\.mkv`: Requested planes not available$"
    ):
        read_luma(path)


def test_a_broken_file_is_an_error_that_names_it(tmp_path: Path):
    path = tmp_path / "broken.mkv"
    path.write_text("not a video")
    with pytest.raises(UserError, match=r"read the luma of `.*broken\.mkv`: "):
        read_luma(path)


def test_vmaf_gives_each_frame_its_own_number(pair: tuple[Path, Path]):
    damaged, true = pair
    same, worse = vmaf(true, true, SHAPE), vmaf(damaged, true, SHAPE)
    assert len(same) == len(worse) == 4
    assert min(same) > 95
    assert max(worse) < min(same) - 5


@pytest.mark.parametrize("tagged", [0, 1], ids=["output", "reference"])
def test_vmaf_is_of_what_is_stored_whatever_one_file_states(
    pair: tuple[Path, Path], tmp_path: Path, tagged: int
):
    raws = [path.with_suffix(".yuv") for path in pair]
    for path, raw in zip(pair, raws, strict=True):
        ffmpeg_output(["-i", str(path), "-frames:v", "4", "-f", "rawvideo", str(raw)], "read")
    log = tmp_path / "log.json"
    raw_inputs = [
        word
        for raw in raws
        for word in ("-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", "128x96", "-i", str(raw))
    ]
    graph = f"[0:v][1:v]libvmaf=model=version={VMAF_MODEL}:log_fmt=json:log_path={log}"
    measure = [*raw_inputs, "-lavfi", graph, "-f", "null", "-"]
    ffmpeg_output(measure, "measure", executable=vmaf_ffmpeg_path())
    frames = json.loads(log.read_text(encoding="utf-8"))["frames"]
    stated = tmp_path / "stated.mkv"
    state = ["-vf", COLOUR_FILTER, "-c:v", "ffv1", *COLOUR_TAGS]
    ffmpeg_output(["-i", str(pair[tagged]), *state, str(stated)], "state its colours")
    files = [stated if index == tagged else path for index, path in enumerate(pair)]
    expected = [frame["metrics"]["vmaf"] for frame in frames]
    assert vmaf(files[0], files[1], SHAPE) == pytest.approx(expected, abs=1e-4)


def test_what_is_larger_is_cut_at_the_right_and_bottom(pair: tuple[Path, Path], tmp_path: Path):
    larger = tmp_path / "larger.mkv"
    ffmpeg_output(["-i", str(pair[0]), "-vf", "pad=134:102", "-c:v", "ffv1", str(larger)], "pad")
    assert vmaf(larger, pair[1], SHAPE) == vmaf(*pair, SHAPE)
    assert torch.equal(read_rgb(larger, SHAPE), read_rgb(pair[0], SHAPE))


def test_vmaf_works_whatever_the_folder_for_temporary_files_is_called(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / r"it's: [a], b; c\d %d"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    assert len(vmaf(pair[1], pair[1], (2, *SHAPE[1:]))) == 2
    assert not list(folder.iterdir())


def test_the_vmaf_model_is_the_default_one():
    assert VMAF_MODEL == "vmaf_v0.6.1"
