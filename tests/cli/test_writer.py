import itertools
import os
import stat
from array import array
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from diffst_cli import writer as writer_module
from diffst_cli.codecs import CODECS
from diffst_cli.errors import UsageError
from diffst_cli.pixels import Image
from diffst_cli.probe import VideoInfo, probe
from diffst_cli.reader import read_frames
from diffst_cli.receipt import Check, Receipt
from diffst_cli.writer import SHORTEST, Output, check_codec_rate
from tests.media import make_gif
from tests.outputs import (
    TONE,
    copy_video,
    frame_times,
    grey_frames,
    job_for,
    leftovers,
    make,
    make_clip,
    write,
)

COLOURS = (
    *((255, 255, 255), (255, 255, 0), (0, 255, 255), (0, 255, 0), (255, 0, 255), (255, 0, 0)),
    *((0, 0, 255), (0, 0, 0), (200, 60, 40), (224, 172, 140), (128, 128, 128), (30, 200, 90)),
)
BAR = 32  # pixels wide; a margin of a quarter on each side is blended with the neighbours


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> VideoInfo:
    """Ten frames of 64x48 at 25 fps, and 0.8 s of sound, tagged as French."""
    tone = ["-f", "lavfi", "-i", f"{TONE}:duration=0.8", "-metadata:s:a:0", "language=fra"]
    folder = tmp_path_factory.mktemp("writer")
    return probe(make_clip(folder / "clip.mp4", *tone, "-metadata", "title=Été"))


def ten_frames(
    info: VideoInfo, size: tuple[int, int] = (64, 48)
) -> Iterator[tuple[Image, Fraction]]:
    return iter(list(grey_frames(info, size, [Fraction(n, 25) for n in range(10)])))


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def bars() -> Image:
    columns = [np.full((32, BAR, 3), colour, np.uint8) for colour in COLOURS]
    return np.concatenate(columns, axis=1)


def insides(image: Image) -> Image:
    """The flat part of each bar, (bars, height, width, 3)."""
    margin = BAR // 4
    inner = [image[:, n * BAR + margin : (n + 1) * BAR - margin] for n in range(len(COLOURS))]
    return np.stack(inner)


def make_bars(path: Path, matrix: str, range_: str, pixel_format: str) -> Path:
    """Three lossless frames of colour bars in Y'CbCr of that matrix and range."""
    raw = path.with_suffix(".rgb")
    raw.write_bytes(bars().tobytes() * 3)
    height, width, _ = bars().shape
    scale_matrix = {"smpte170m": "bt601", "bt2020nc": "bt2020"}.get(matrix, matrix)
    scale = f"scale=in_range=pc:out_color_matrix={scale_matrix}:out_range={range_}"
    tags = f"setparams=colorspace={matrix}:range={range_}"
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", "25"]
    filters = ["-vf", f"{scale}:flags=accurate_rnd+full_chroma_int,format={pixel_format},{tags}"]
    options = ["-colorspace", matrix, "-color_range", range_, "-c:v", "ffv1", "-level", "3"]
    return make(path, *source, "-i", str(raw), *filters, *options)


@pytest.mark.parametrize("matrix", ["bt709", "smpte170m", "bt2020nc"])
@pytest.mark.parametrize("range_", ["tv", "pc"])
def test_colours_come_back_within_one_code_value(matrix: str, range_: str, tmp_path: Path) -> None:
    info = probe(make_bars(tmp_path / "bars.mkv", matrix, range_, "yuv420p"))
    output = tmp_path / "out.mp4"
    before = [(frame.image, frame.time) for frame in read_frames(info)]
    receipt = write(info, job_for(info, output, crf=0), before)
    after = next(read_frames(probe(output))).image
    assert receipt.ok
    difference = insides(after).astype(int) - insides(before[0][0])
    assert np.abs(difference).max() <= 1
    green = insides(after)[COLOURS.index((0, 255, 0))].reshape(-1, 3)
    assert np.abs(green.astype(int) - (0, 255, 0)).max() <= 1


def test_ten_bits_stay_ten_bits_with_their_tags(tmp_path: Path) -> None:
    source = make_bars(tmp_path / "bars.mkv", "bt2020nc", "tv", "yuv420p10le")
    tagged = ["-color_primaries", "bt2020", "-color_trc", "arib-std-b67", "-color_range", "tv"]
    make(tmp_path / "hlg.mkv", "-i", str(source), "-c", "copy", *tagged, "-colorspace", "bt2020nc")
    info = probe(tmp_path / "hlg.mkv")
    output = tmp_path / "out.mp4"
    before = [(frame.image, frame.time) for frame in read_frames(info)]
    receipt = write(info, job_for(info, output, crf=0), before)
    result = probe(output)
    assert receipt.ok
    assert (result.codec, result.pixel_format) == ("hevc", "yuv420p10le")
    assert b"hvc1" in output.read_bytes()  # the only name that Apple's players open
    colour = result.colour
    assert (colour.matrix, colour.range) == ("bt2020nc", "tv")
    assert (colour.primaries, colour.transfer) == ("bt2020", "arib-std-b67")
    after = insides(next(read_frames(result)).image).astype(int)
    assert np.abs(after - insides(before[0][0])).max() <= 257  # one of 8 bits; ten_bit codes are 64


def test_untagged_sd_is_written_with_the_matrix_it_was_read_with(tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "sd.mp4", size="320x240"))
    assert info.colour.matrix is None
    output = tmp_path / "hd.mp4"
    size = (1280, 960)  # a player would guess BT.709 here
    receipt = write(info, job_for(info, output, size=size), ten_frames(info, size))
    assert receipt.ok
    assert probe(output).colour.matrix == "smpte170m"


@pytest.mark.parametrize(("suffix", "tolerance"), [(".mp4", 0), (".mov", 0), (".mkv", 0.0005)])
def test_a_variable_rate_keeps_every_time(suffix: str, tolerance: float, tmp_path: Path) -> None:
    ticks = (0, 1001, 2002, 5000, 6001, 14000, 15001, 22222)
    times = [Fraction(tick, 30000) for tick in ticks]
    info = replace(probe(make_clip(tmp_path / "clip.mp4")), is_variable=True)
    output = tmp_path / f"out{suffix}"
    receipt = write(info, job_for(info, output), grey_frames(info, (64, 48), times))
    assert receipt.ok
    errors = [abs(a - b) for a, b in zip(frame_times(output), times, strict=True)]
    assert max(errors) <= tolerance


def test_the_sound_the_tags_and_the_rate_come_along(clip: VideoInfo, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    receipt = write(clip, job_for(clip, output, size=(128, 96)), ten_frames(clip, (128, 96)))
    result = probe(output)
    assert receipt.ok
    assert (result.width, result.height, result.num_frames) == (128, 96, 10)
    assert result.frame_rate == 25
    assert result.tags["title"] == "Été"
    assert [(s.kind, s.codec, s.language) for s in result.streams[1:]] == [("audio", "aac", "fra")]
    audio = result.streams[1].duration_seconds
    assert audio is not None
    assert float(audio) == pytest.approx(0.8, abs=0.03)  # longer than the picture, and whole
    data = output.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # plays while it is still being fetched


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".webm", ".avi", ".gif"])
def test_every_kind_of_file_is_verified_and_playable(
    suffix: str, clip: VideoInfo, tmp_path: Path
) -> None:
    output = tmp_path / f"out{suffix}"
    receipt = write(clip, job_for(clip, output), ten_frames(clip))
    assert [check for check in receipt.checks if not check.ok] == []
    with av.open(str(output)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 10


@pytest.mark.parametrize(
    "name", ["-dash.mp4", "a b.mp4", "quo'te\".mp4", "日本 é.mp4", "100%d.mp4"]
)
def test_any_name_is_written(
    name: str, clip: VideoInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert write(clip, job_for(clip, Path(name)), ten_frames(clip)).ok
    assert names(tmp_path) == [name]


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> VideoInfo:
    folder = tmp_path_factory.mktemp("odd")
    filters = ["-vf", "format=yuv444p,scale=65:47"]
    return probe(make_clip(folder / "odd.mkv", *filters, "-c:v", "ffv1"))


def test_odd_sides_are_padded_with_the_edge_and_said(odd: VideoInfo, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    frames = [(np.full((47, 65, 3), 200, np.uint8), Fraction(n, 25)) for n in range(2)]
    receipt = write(odd, job_for(odd, output), frames)
    assert receipt.ok
    assert receipt.notes == ("65x47 padded to 66x48: the codec needs even sides",)
    image = next(read_frames(probe(output))).image
    assert image.shape == (48, 66, 3)
    assert np.abs(image.astype(int) - 200).max() <= 2  # no dark or green edge


def test_odd_sides_are_exact_in_webm(odd: VideoInfo, tmp_path: Path) -> None:
    output = tmp_path / "out.webm"
    frames = [(np.full((47, 65, 3), 200, np.uint8), Fraction(n, 25)) for n in range(2)]
    receipt = write(odd, job_for(odd, output), frames)
    assert (receipt.ok, receipt.notes) == (True, ())
    assert (probe(output).width, probe(output).height) == (65, 47)


def test_a_size_of_another_shape_keeps_the_picture_s_shape(clip: VideoInfo, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    receipt = write(clip, job_for(clip, output, size=(128, 48)), ten_frames(clip, (128, 48)))
    assert receipt.ok
    assert receipt.notes == ("pixels become 1:2 wide, so the picture keeps its shape",)
    assert probe(output).sample_aspect == Fraction(1, 2)


def test_the_pixel_shape_is_kept(tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "wide.mp4", "-vf", "setsar=64/45"))
    output = tmp_path / "out.mp4"
    assert write(info, job_for(info, output, size=(128, 96)), ten_frames(info, (128, 96))).ok
    assert probe(output).sample_aspect == Fraction(64, 45)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_late_video_stays_late_against_its_sound(suffix: str, tmp_path: Path) -> None:
    late = make_clip(tmp_path / "picture.mp4")
    inputs = ["-itsoffset", "0.2", "-i", str(late), "-f", "lavfi", "-i", f"{TONE}:duration=0.5"]
    source = make(tmp_path / f"source{suffix}", *inputs, "-c:v", "copy")
    output = tmp_path / f"out{suffix}"
    assert copy_video(source, output).ok
    result = probe(output)
    assert float(result.start_seconds - result.origin_seconds) == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_a_cut_takes_the_sound_from_the_same_place(suffix: str, tmp_path: Path) -> None:
    # Silence until 1 s, then a tone: in the cut from 0.6 s it begins at 0.4 s.
    tone = f"{TONE}:duration=2,volume=0:enable='lt(t,1)'"
    source = make_clip(tmp_path / "source.mp4", "-f", "lavfi", "-i", tone, num_frames=50)
    output = tmp_path / f"out{suffix}"
    receipt = copy_video(source, output, start=Fraction(6, 10), duration=Fraction(8, 10))
    assert receipt.ok
    assert probe(output).num_frames == 20
    with av.open(str(output)) as container:
        frames = list(container.decode(audio=0))
    times = [float(frame.time or 0) for frame in frames]
    loud = [
        t for t, frame in zip(times, frames, strict=True) if np.abs(frame.to_ndarray()).max() > 0.05
    ]
    assert loud[0] == pytest.approx(0.4, abs=0.03)
    assert times[-1] == pytest.approx(0.8, abs=0.05)


def test_frames_that_outlast_the_cut_are_all_written(clip: VideoInfo, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    clip = replace(clip, is_variable=True)
    times = [Fraction(0), Fraction(1, 10), Fraction(2, 10), Fraction(35, 100)]
    frames = grey_frames(clip, (64, 48), times)
    receipt = write(clip, job_for(clip, output, duration=Fraction(1, 4)), frames)
    assert receipt.ok
    assert frame_times(output) == times


def test_a_finished_file_has_the_rights_that_the_user_gives_to_files(
    clip: VideoInfo, tmp_path: Path
) -> None:
    output = tmp_path / "out.mp4"
    before = os.umask(0o027)
    try:
        assert write(clip, job_for(clip, output), ten_frames(clip)).ok
    finally:
        os.umask(before)
    assert stat.S_IMODE(output.stat().st_mode) == 0o640
    assert names(tmp_path) == ["out.mp4"]


def test_leaving_in_the_middle_leaves_nothing(clip: VideoInfo, tmp_path: Path) -> None:
    def interrupted() -> Iterator[tuple[Image, Fraction]]:
        yield next(ten_frames(clip))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(clip, job_for(clip, tmp_path / "out.mp4"), interrupted())
    assert names(tmp_path) == []


def test_a_failed_check_leaves_nothing_and_keeps_the_old_file(
    clip: VideoInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out.mp4"
    output.write_bytes(b"old")
    bad = Receipt(
        input=clip.path,
        output=output,
        checks=(Check(name="frames", ok=False, expected="10", actual="9"),),
        notes=(),
    )
    monkeypatch.setattr(writer_module, "verify", lambda *_, **__: bad)
    receipt = write(clip, job_for(clip, output, overwrite=True), ten_frames(clip))
    assert not receipt.ok
    assert output.read_bytes() == b"old"
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "100 are in the input"),
        ({"fps": Fraction(60)}, "60 were asked for"),
        ({"fps_x": Fraction(2)}, "200 were asked for"),
    ],
)
def test_a_rate_that_players_of_gifs_lack_is_told_as_whose_it_is(
    options: dict[str, Fraction], words: str, tmp_path: Path
) -> None:
    info = probe(make_gif(tmp_path / "fast.gif", ticks=range(4)))
    with pytest.raises(UsageError, match=f"no more than 50 frames a second, and {words}"):
        Output(job_for(info, tmp_path / "out.gif", **options), info)


def test_one_frame_makes_a_video(clip: VideoInfo, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    assert write(clip, job_for(clip, output), itertools.islice(ten_frames(clip), 1)).ok
    assert probe(output).num_frames == 1


@pytest.mark.parametrize("depth", [8, 16])
def test_pictures_keep_every_value_and_depth(depth: int, tmp_path: Path) -> None:
    pixel_format = "yuv420p" if depth == 8 else "yuv420p10le"
    info = probe(make_clip(tmp_path / "clip.mkv", "-c:v", "ffv1", "-pix_fmt", pixel_format))
    generator = np.random.default_rng(0)
    dtype = np.uint8 if depth == 8 else np.uint16
    images = [generator.integers(0, 2**depth, (47, 65, 3)).astype(dtype) for _ in range(3)]
    output = tmp_path / "pictures"
    job = job_for(info, output, size=(65, 47))
    receipt = write(info, job, [(image, Fraction(n, 25)) for n, image in enumerate(images)])
    assert receipt.ok
    assert names(output) == ["00001.png", "00002.png", "00003.png"]
    for image, frame in zip(images, read_frames(probe(output)), strict=True):
        np.testing.assert_array_equal(frame.image, image)


def test_numbered_pictures_replace_only_their_own_kind(clip: VideoInfo, tmp_path: Path) -> None:
    for name in ("shot_0007.png", "other.png"):
        (tmp_path / name).write_bytes(b"old")
    with pytest.raises(UsageError, match="already exists"):
        Output(job_for(clip, tmp_path / "shot_%04d.png"), clip)
    replacing = job_for(clip, tmp_path / "shot_%04d.png", overwrite=True)
    assert write(clip, replacing, itertools.islice(ten_frames(clip), 2)).ok
    assert names(tmp_path) == ["other.png", "shot_0001.png", "shot_0002.png"]


def test_a_rate_the_file_cannot_hold_is_refused(clip: VideoInfo, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="variable frame rate"):
        Output(job_for(clip, tmp_path / "out.avi"), replace(clip, is_variable=True))
    with pytest.raises(UsageError, match="50 frames a second, and 60 were"):
        Output(job_for(clip, tmp_path / "out.gif", fps=Fraction(60)), clip)
    assert names(tmp_path) == []


def test_a_last_frame_that_rounding_leaves_no_time_is_shown_a_moment(tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "in.mkv"))
    output = Output(job_for(info, tmp_path / "out.mkv"), replace(info, is_variable=True))
    assert output._last_frame(array("d", (0.0, 1.0)), Fraction(1)) == SHORTEST


def test_a_part_of_an_avi_begins_at_its_own_first_frame(tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "in.avi"))
    frames = list(grey_frames(info, (64, 48), [Fraction(n, 25) for n in range(10)]))[5:]
    job = job_for(info, tmp_path / "out.avi", start=Fraction(5, 25))
    receipt = write(info, job, frames)
    assert receipt.ok, [check for check in receipt.checks if not check.ok]


def test_a_codec_takes_its_highest_rate() -> None:
    for codec in CODECS.values():
        if codec.max_rate is not None:
            check_codec_rate(codec, Fraction(codec.max_rate))
