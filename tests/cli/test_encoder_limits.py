"""What single codecs and containers cannot hold is left out, or refused before any work."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from diffst_cli.encoding import choose_encoding
from diffst_cli.errors import UsageError
from diffst_cli.probe import Colour, VideoInfo, probe
from diffst_cli.writer import Output
from tests import media
from tests.outputs import job_for, make_clip, write


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> VideoInfo:
    return probe(make_clip(tmp_path_factory.mktemp("limits") / "clip.mp4", num_frames=2))


def tagged(info: VideoInfo, **tags: str | None) -> VideoInfo:
    """`info` that states limited BT.709 and nothing else, apart from `tags`."""
    colour = Colour(
        matrix="bt709", range="tv", primaries=None, transfer=None, chroma_location="left"
    )
    return replace(info, colour=replace(colour, **tags))


@pytest.mark.parametrize("suffix", [".mov", ".mkv"])
def test_prores_of_full_range_video_is_of_limited_range(
    suffix: str, clip: VideoInfo, tmp_path: Path
) -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    image[:, 32:] = 255
    output = tmp_path / f"o{suffix}"
    receipt = write(
        tagged(clip, range="pc", chroma_location="center"),
        job_for(clip, output, codec="prores", preset=None),
        [(image, Fraction(0))],
    )
    assert receipt.ok, [check for check in receipt.checks if not check.ok]
    raw = tmp_path / "o.raw"
    media.run_ffmpeg(
        "-i", media.file_url(output), "-pix_fmt", "yuv422p10le", "-f", "rawvideo",
        media.file_url(raw),
    )  # fmt: skip
    luma = np.frombuffer(raw.read_bytes(), "<u2")[: 64 * 48].reshape(48, 64)
    assert luma[24, [8, 56]].tolist() == [64, 940]


@pytest.mark.parametrize(
    ("codec", "suffix", "primaries", "transfer", "kept", "note"),
    [
        ("ffv1", ".mkv", None, "log100", (None, None), "log100 left out"),
        ("ffv1", ".mov", "bt2020", None, (None, None), "bt2020 left out"),
        ("ffv1", ".mkv", "ebu3213", "log316", ("ebu3213", "log316"), None),
        ("h264", ".mp4", "ebu3213", "log100", (None, "log100"), "ebu3213: left out"),
        ("hevc", ".mkv", "ebu3213", "bt709", (None, "bt709"), "ebu3213: left out"),
        ("vp9", ".webm", "ebu3213", None, ("ebu3213", None), None),
        ("av1", ".mp4", "ebu3213", "log100", ("ebu3213", "log100"), None),
    ],
)
def test_tags_that_the_codec_cannot_hold_are_left_out_and_told(
    codec: str,
    suffix: str,
    primaries: str | None,
    transfer: str | None,
    kept: tuple[str | None, str | None],
    note: str | None,
    clip: VideoInfo,
    tmp_path: Path,
) -> None:
    info = tagged(clip, primaries=primaries, transfer=transfer)
    preset = {"h264": "ultrafast", "hevc": "ultrafast", "av1": "13"}.get(codec)
    job = job_for(info, tmp_path / f"o{suffix}", codec=codec, preset=preset)
    encoding = Output(job, info).encoding
    assert (encoding.colour.primaries, encoding.colour.transfer) == kept
    told = [line for line in encoding.notes if "left out" in line]
    assert [line.endswith(str(note)) for line in told] == [True] * (note is not None)
    assert write(info, job, [(np.zeros((48, 64, 3), np.uint8), Fraction(0))]).ok
    found = probe(job.output).colour
    assert (found.primaries, found.transfer) == kept


def test_of_a_gif_which_has_no_such_tags_nothing_is_told(clip: VideoInfo, tmp_path: Path) -> None:
    info = tagged(clip, transfer="log100")
    notes = Output(job_for(info, tmp_path / "o.gif"), info).encoding.notes
    assert not [line for line in notes if "left out" in line]


@pytest.mark.parametrize(
    ("aspect", "kept"),
    [
        (Fraction(1, 4), Fraction(1, 4)),
        (Fraction(9, 2), 1),
        (Fraction(21, 5), Fraction(21, 5)),
        (Fraction(1, 5), 1),
        (Fraction(15, 64), 1),
    ],
)
def test_a_pixel_shape_that_a_gif_cannot_hold_is_given_up_and_told(
    aspect: Fraction, kept: Fraction | int, clip: VideoInfo, tmp_path: Path
) -> None:
    info = replace(clip, sample_aspect=aspect)
    job = job_for(info, tmp_path / "o.gif", overwrite=True)
    encoding = Output(job, info).encoding
    assert encoding.sample_aspect == kept
    assert any("a GIF cannot hold" in note for note in encoding.notes) == (kept == 1)
    assert write(info, job, [(np.zeros((48, 64, 3), np.uint8), Fraction(0))]).ok


def test_a_size_may_ask_for_pixels_that_only_a_gif_cannot_hold(clip: VideoInfo) -> None:
    def shape(suffix: str) -> Fraction:
        return choose_encoding(
            clip, suffix=suffix, size=(320, 48), codec=None, crf=None, preset=None
        ).sample_aspect

    assert (shape(".mkv"), shape(".gif")) == (Fraction(1, 5), Fraction(1))


@pytest.mark.parametrize(
    ("codec", "suffix", "size", "others"),
    [
        ("hevc", ".mp4", (14, 64), "`h264` or `vp9`"),
        ("hevc", ".mov", (64, 8), "`h264` or `prores` or `ffv1`"),
        ("av1", ".webm", (2, 4), "`vp9`"),
    ],
)
def test_a_codec_that_takes_no_small_pictures_is_refused_with_one_that_does(
    codec: str, suffix: str, size: tuple[int, int], others: str, clip: VideoInfo
) -> None:
    with pytest.raises(
        UsageError, match=f"`{codec}` takes no picture with a side under 16"
    ) as told:
        choose_encoding(clip, suffix=suffix, size=size, codec=codec, crf=None, preset=None)
    assert told.value.hint == f"give `--codec` {others}, or a larger size"


@pytest.mark.parametrize(("codec", "suffix"), [("hevc", ".mp4"), ("av1", ".webm")])
def test_the_smallest_picture_that_a_codec_is_said_to_take_is_encoded(
    codec: str, suffix: str, clip: VideoInfo, tmp_path: Path
) -> None:
    job = job_for(clip, tmp_path / f"o{suffix}", codec=codec, size=(15, 16), preset=None)
    noise = np.random.default_rng(0).integers(0, 256, (20, 16, 15, 3), np.uint8)
    frames = [(image, Fraction(n, 25)) for n, image in enumerate(noise)]
    assert write(clip, job, frames).ok


@pytest.mark.parametrize(("suffix", "chosen"), [(".mkv", "h264"), (".webm", "vp9")])
def test_a_small_deep_picture_gets_a_codec_that_takes_it(
    suffix: str, chosen: str, clip: VideoInfo
) -> None:
    deep = replace(clip, bit_depth=10)
    encoding = choose_encoding(deep, suffix=suffix, size=(8, 8), codec=None, crf=None, preset=None)
    assert encoding.codec.name == chosen


def test_more_frames_a_second_than_av1_takes_are_refused_at_once(
    clip: VideoInfo, tmp_path: Path
) -> None:
    job = job_for(clip, tmp_path / "o.webm", codec="av1")
    black = [(np.zeros((48, 64, 3), np.uint8), Fraction(n, 240)) for n in range(3)]
    assert write(replace(clip, frame_rate=Fraction(240)), job, black).ok
    with pytest.raises(UsageError, match="`av1` takes no more than 240 frames a second, and 300 "):
        Output(replace(job, overwrite=True), replace(clip, frame_rate=Fraction(300)))
