"""What is read from pixel formats that few videos have: luma alone, deep alpha, chroma of four luma samples."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from diffst_cli.pixels import Image
from diffst_cli.probe import probe
from diffst_cli.reader import read_frames
from tests import media
from tests.outputs import job_for, write

SIDE = 16  # pixels


def read_first(path: Path) -> Image:
    return next(read_frames(probe(path))).image


def make_raw(path: Path, pixel_format: str, raw: bytes, *arguments: str, size: str = "") -> Path:
    """A lossless file of frames that are given as stored."""
    media.run_ffmpeg(
        "-f", "rawvideo", "-pixel_format", pixel_format, "-video_size", size or f"{SIDE}x{SIDE}",
        "-framerate", "25", "-i", "pipe:0", *arguments, "-pix_fmt", pixel_format,
        media.file_url(path), stdin=raw,
    )  # fmt: skip
    return path


def make_grey(path: Path, pixel_format: str, bits: int, range_: str) -> Path:
    """One frame of four bands: black, white, a mid grey and what is brighter than white."""
    codes = [16, 235, 126, 250] if range_ == "tv" else [0, 255, 128, 255]
    levels = [code << (bits - 8) for code in codes]
    if range_ == "pc":
        levels[1] = levels[3] = 2**bits - 1
    luma = np.repeat(np.array(levels, "u1" if bits == 8 else "<u2"), SIDE * SIDE // 4)
    if pixel_format.startswith("ya"):
        luma = np.stack([luma, np.full_like(luma, 2**bits - 1)], axis=-1)
    tags = f"setparams=range={range_}:colorspace=bt709"
    return make_raw(path, pixel_format, luma.tobytes(), "-vf", tags, "-c:v", "ffv1")


@pytest.mark.parametrize("range_", ["tv", "pc"])
@pytest.mark.parametrize(
    ("pixel_format", "bits"),
    [("gray", 8), ("gray10le", 10), ("gray12le", 12), ("gray16le", 16), ("ya8", 8)],
)
def test_black_and_white_of_luma_alone_are_those_of_its_range(
    tmp_path: Path, pixel_format: str, bits: int, range_: str
) -> None:
    image = read_first(make_grey(tmp_path / "g.mkv", pixel_format, bits, range_)).astype(int)
    full = 255 if bits == 8 else 65535
    assert (image == image[:, :, :1]).all()
    mid = full * 110 / 219 if range_ == "tv" else full * (128 << (bits - 8)) / (2**bits - 1)
    assert np.abs(image[2::4, 0, 0] - [0, full, mid, full]).max() <= 0.5 + (bits > 8)


def test_luma_alone_of_limited_range_stays_as_bright_in_the_output(tmp_path: Path) -> None:
    info = probe(make_grey(tmp_path / "g.mkv", "gray", 8, "tv"))
    image = next(read_frames(info)).image
    job = job_for(info, tmp_path / "o.mp4", crf=0)
    assert write(info, job, [(image, Fraction(0))]).ok
    media.run_ffmpeg(
        "-i", media.file_url(tmp_path / "o.mp4"), "-pix_fmt", "yuv420p", "-f", "rawvideo",
        media.file_url(tmp_path / "o.raw"),
    )  # fmt: skip
    luma = np.frombuffer((tmp_path / "o.raw").read_bytes(), np.uint8)[: SIDE * SIDE]
    assert luma.reshape(SIDE, SIDE)[2::4, 8].tolist() == [16, 235, 126, 235]


def test_a_grey_picture_may_say_that_it_is_of_limited_range(tmp_path: Path) -> None:
    luma = np.repeat(np.array([16, 235], np.uint8), SIDE * SIDE // 2)
    tags = "setparams=range=tv:color_primaries=bt709:color_trc=bt709"
    make_raw(tmp_path / "g.png", "gray", luma.tobytes(), "-vf", tags)
    assert read_first(tmp_path)[[4, 12], 0].tolist() == [[0] * 3, [255] * 3]


@pytest.mark.parametrize(
    ("pixel_format", "bits"),
    [("yuva444p10le", 10), ("yuva444p12le", 12), ("yuva444p16le", 16), ("gbrap10le", 10)],
)
def test_what_is_opaque_in_deep_video_is_as_bright_as_without_alpha(
    tmp_path: Path, pixel_format: str, bits: int
) -> None:
    full, middle = 2**bits - 1, 2 ** (bits - 1)
    colour = [full] * 3 if pixel_format.startswith("gbr") else [full, middle, middle]
    raw = b"".join(np.full(SIDE * SIDE, value, "<u2").tobytes() for value in (*colour, full))
    half = raw[: -2 * SIDE * SIDE] + np.full(SIDE * SIDE, full // 3, "<u2").tobytes()
    path = make_raw(
        tmp_path / "a.mkv", pixel_format, raw + half, "-vf", "setparams=range=pc", "-c:v", "ffv1"
    )
    opaque, pale = (frame.image.astype(int) for frame in read_frames(probe(path)))
    assert opaque.min() == 65535
    assert np.abs(pale - 65535 / 3).max() <= 1


@pytest.mark.parametrize(
    ("pixel_format", "location", "right", "down"),
    [
        ("yuv411p", "left", 0, 0),
        ("yuv411p", "center", 1.5, 0),
        ("yuv410p", "left", 0, 1.5),
        ("yuv410p", "center", 1.5, 1.5),
        ("yuv410p", "topleft", 0, 0),
        ("yuv440p", "left", 0, 0.5),
    ],
)  # the first chroma sample lies so many luma samples from the first
def test_chroma_of_four_luma_samples_is_placed_where_the_file_says(
    tmp_path: Path, pixel_format: str, location: str, right: float, down: float
) -> None:
    width, height = 64, 48
    across, down_by = {"411": (4, 1), "410": (4, 4), "440": (1, 2)}[pixel_format[3:6]]
    blue = 90 + np.arange(0, width, across, dtype=np.uint8)  # one a luma sample
    red = 100 + np.arange(0, height, down_by, dtype=np.uint8)
    planes = np.meshgrid(blue, red)
    raw = bytes([128]) * (width * height) + b"".join(plane.tobytes() for plane in planes)
    place = ("-chroma_sample_location", location)
    tags = f"setparams=colorspace=bt709:range=tv:chroma_location={location}"
    path = make_raw(
        tmp_path / "c.mkv", pixel_format, raw, "-vf", tags, "-c:v", "ffv1", *place,
        size=f"{width}x{height}",
    )  # fmt: skip
    image = read_first(path)[12:-12, 12:-12].astype(float)
    across_blue = (image[:, :, 2] - 255 * (128 - 16) / 219) / (255 / 224 * 1.8556) + 128 - 90
    down_red = (image[:, :, 0] - 255 * (128 - 16) / 219) / (255 / 224 * 1.5748) + 128 - 100
    columns, rows = np.arange(12, width - 12), np.arange(12, height - 12)
    assert abs((columns - across_blue.mean(axis=0)).mean() - right) < 0.1
    assert abs((rows - down_red.mean(axis=1)).mean() - down) < 0.1
