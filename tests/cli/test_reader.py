"""Frames come out upright, in the right colours, at their own times, and never hang."""

import itertools
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from diffst_cli import ffmpeg
from diffst_cli.errors import UserError
from diffst_cli.probe import probe
from diffst_cli.reader import Frame, ReadReport, read_frames, require_start
from tests import media

F = Fraction
LUMA = {"bt709": (0.2126, 0.0722), "smpte170m": (0.299, 0.114), "bt2020nc": (0.2627, 0.0593)}


def read(path: Path, **part: Fraction) -> list[Frame]:
    return list(read_frames(probe(path), **part))


def times(path: Path, **part: Fraction) -> list[Fraction]:
    return [frame.time for frame in read(path, **part)]


# Times.


def test_ntsc_times_are_exact(tmp_path):
    path = media.make_video(tmp_path / "n.mp4", rate="30000/1001")
    assert times(path) == [F(n * 1001, 30000) for n in range(10)]


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.mov"])
def test_variable_rates_keep_every_frame_at_its_own_time(tmp_path, name):
    path = media.make_variable_rate(tmp_path / name)
    assert times(path) == [F(tick, 1000) for tick in media.VARIABLE_TICKS]


def test_a_gif_keeps_its_own_times(tmp_path):
    assert times(media.make_gif(tmp_path / "g.gif")) == [F(0), F(1, 10), F(1, 5), F(1, 2)]


def test_indices_count_from_zero(tmp_path):
    frames = read(media.make_video(tmp_path / "a.mp4"), start=F(1, 5))
    assert [frame.index for frame in frames] == list(range(5))


def test_a_clock_that_does_not_start_at_zero_is_kept(tmp_path):
    info = probe(media.make_with_audio(tmp_path / "a.ts"))
    found = [frame.time for frame in read_frames(info)]
    assert found == [info.start_seconds + F(n, 25) for n in range(10)]
    assert info.start_seconds > 1


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
def test_a_part_is_cut_to_the_frame(tmp_path, name):
    path = media.make_video(tmp_path / name, num_frames=50, options=("-g", "12"))
    info = probe(path)
    with read_frames(info, start=F(4, 5), duration=F(2, 5)) as reader:
        frames = list(reader)
    assert [frame.time - info.origin_seconds for frame in frames] == [
        F(n, 25) for n in range(20, 30)
    ]
    assert reader.report.reached_end
    whole = read(path)
    assert all(np.array_equal(a.image, b.image) for a, b in zip(frames, whole[20:30], strict=True))


SLIDES = (0, 1000, 1040, 4000, 4040)


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv"])
@pytest.mark.parametrize(
    ("start", "duration", "wanted"),
    [
        (F(2), None, [(2, 2000), (3, 4000), (4, 4040)]),
        (F(2), F(1), [(2, 2000)]),
        (F(395, 100), None, [(3, 4000), (4, 4040)]),
        (F(1), F(1, 20), [(1, 1000), (2, 1040)]),
    ],
)
def test_a_part_begins_with_what_is_on_screen_then(tmp_path, name, start, duration, wanted):
    path = media.make_variable_rate(tmp_path / name, SLIDES)
    whole = read(path)
    part = read(path, start=start, **({"duration": duration} if duration else {}))
    assert [frame.time for frame in part] == [F(tick, 1000) for _, tick in wanted]
    for frame, (index, _) in zip(part, wanted, strict=True):
        assert np.array_equal(frame.image, whole[index].image)


def test_a_last_picture_is_there_until_its_end(tmp_path):
    path = media.make_variable_rate(tmp_path / "v.mkv", (0, 40, 80, 120))
    info = replace(probe(path), is_variable=True, duration_seconds=F(2))
    (held,) = read_frames(info, start=F(1))
    assert held.time == 1
    assert np.array_equal(held.image, read(path)[-1].image)
    with pytest.raises(UserError, match="no frame in the chosen part"):
        list(read_frames(info, start=F(2)))


def test_a_part_past_the_end_is_an_error(tmp_path):
    with pytest.raises(UserError, match="no frame in the chosen part"):
        read(media.make_video(tmp_path / "a.mp4"), start=F(5))


def test_of_a_whole_file_there_is_nothing_to_report(tmp_path):
    reader = read_frames(probe(media.make_video(tmp_path / "a.mp4")))
    assert next(reader).index == 0
    assert not reader.report.reached_end
    assert len(list(reader)) == 9
    assert reader.report == ReadReport(num_frames=10, reached_end=True)


# Colour.


def expected_rgb(values: tuple[float, ...], matrix: str, range_: str, bits: int) -> np.ndarray:
    """R'G'B' in [0, 1] of stored Y'CbCr, by the definition (ITU-T H.273), in floating point."""
    unit = 2 ** (bits - 8)
    y, cb, cr = (float(value) for value in values)
    if range_ == "tv":
        y, cb, cr = (y / unit - 16) / 219, (cb / unit - 128) / 224, (cr / unit - 128) / 224
    else:
        full = 2**bits - 1
        y, cb, cr = y / full, (cb - 128 * unit) / full, (cr - 128 * unit) / full
    red_share, blue_share = LUMA[matrix]
    red, blue = y + 2 * (1 - red_share) * cr, y + 2 * (1 - blue_share) * cb
    green = (y - red_share * red - blue_share * blue) / (1 - red_share - blue_share)
    clipped: np.ndarray = np.clip([red, green, blue], 0, 1)
    return clipped


@pytest.mark.parametrize("range_", ["tv", "pc"])
@pytest.mark.parametrize("matrix", ["bt709", "smpte170m", "bt2020nc"])
@pytest.mark.parametrize(
    ("pixel_format", "bits"), [("yuv444p", 8), ("yuv420p", 8), ("yuv444p10le", 10)]
)
def test_flat_colours_match_the_definition(tmp_path, matrix, range_, pixel_format, bits):
    unit = 2 ** (bits - 8)
    draw = np.random.default_rng(7)
    values = [(16, 128, 128), (235, 128, 128), (81, 90, 240), (145, 54, 34), (41, 240, 110)]
    values += draw.integers(16, 236, (20, 3)).tolist()
    scaled = [tuple(value * unit for value in each) for each in values]
    tags = f"colorspace={matrix}:range={range_}"
    path = media.make_flat(tmp_path / "f.mkv", scaled, pixel_format=pixel_format, tags=tags)
    frames = read(path)
    assert len(frames) == len(values)
    full = 255 if bits == 8 else 65535
    allowed = 1 if bits == 8 else 16  # a quarter of a 10-bit code
    for frame, each in zip(frames, scaled, strict=True):
        wanted = expected_rgb(each, matrix, range_, bits) * full
        assert np.abs(frame.image.astype(float) - wanted).max() <= allowed


@pytest.mark.parametrize(
    ("tags", "matrix"),
    [
        ("colorspace=bt709:color_trc=log100", "bt709"),
        ("colorspace=bt709:color_trc=log316", "bt709"),
        ("colorspace=bt2020c:color_primaries=bt2020:color_trc=bt2020-10", "bt2020nc"),
    ],
)
def test_tags_that_are_only_passed_on_disturb_nothing(tmp_path, tags, matrix):
    values = (145, 54, 34)
    path = media.make_flat(tmp_path / "t.mkv", [values], tags=f"{tags}:range=tv")
    wanted = expected_rgb(values, matrix, "tv", 8) * 255
    assert np.abs(read(path)[0].image.astype(float) - wanted).max() <= 1


def test_saturated_green_stays_pure(tmp_path):
    path = media.make_flat(tmp_path / "g.mkv", [(173, 42, 26)], tags="colorspace=bt709:range=tv")
    assert read(path)[0].image[5, 5].tolist() == [0, 255, 1]  # (173, 42, 26) is 0, 255, 0.6


def test_what_the_container_says_to_cut_off_is_cut_off(tmp_path):
    whole = read(media.make_video(tmp_path / "w.mov", encoder=media.LOSSLESS))[0].image
    info = probe(media.make_cropped(tmp_path / "c.mov", (48, 32)))
    assert (info.width, info.height) == (info.stored_width, info.stored_height) == (48, 32)
    image = next(read_frames(info)).image
    inside = slice(4, -4), slice(4, -4)  # at its edge colours have other neighbours
    assert np.array_equal(image[inside], whole[8:40, 8:56][inside])


def test_deep_white_is_white_and_black_black(tmp_path):
    values = [(64, 512, 512), (940, 512, 512), (502, 512, 512)]
    tags = "colorspace=bt2020nc:color_trc=arib-std-b67:range=tv"
    path = media.make_flat(tmp_path / "w.mkv", values, pixel_format="yuv420p10le", tags=tags)
    black, white, grey = (frame.image for frame in read(path))
    assert white.dtype == np.uint16
    assert (int(black.max()), int(white.min())) == (0, 65535)
    assert abs(int(grey[4, 4, 0]) - 65535 / 2) <= 8  # code values kept, no tone mapping


def test_deep_rgb_keeps_its_values(tmp_path):
    values = [(1023, 0, 512), (0, 0, 0), (1023, 1023, 1023)]  # green, blue, red: the planes' order
    path = media.make_flat(
        tmp_path / "r.mkv", values, pixel_format="gbrp10le", encoder=("-c:v", "ffv1")
    )
    pictures = [frame.image[5, 5].astype(int) for frame in read(path)]
    wanted = [np.array([red, green, blue]) * 65535 / 1023 for green, blue, red in values]
    assert all(
        np.abs(found - exact).max() <= 1 for found, exact in zip(pictures, wanted, strict=True)
    )


def test_a_moving_alpha_channel_is_laid_over_black(tmp_path):
    encoder = ("-c:v", "qtrle", "-pix_fmt", "argb")
    path = media.make_video(
        tmp_path / "a.mov", filters="format=rgba,lutrgb=r=200:g=100:b=50:a=51", encoder=encoder
    )
    assert read(path)[0].image[5, 5].tolist() == [40, 20, 10]


@pytest.mark.parametrize(
    ("number", "right", "down"),
    [(0, 0, 0.5), (1, 0.5, 0.5), (2, 0, 0), (3, 0.5, 0), (4, 0, 1), (5, 0.5, 1)],
)  # as H.264 counts: the first chroma sample lies so many luma samples from the first
def test_chroma_is_placed_where_the_file_says(tmp_path, number, right, down):
    luma = np.full((16, 32), 128, np.uint8)
    blue = np.tile(np.arange(80, 80 + 64, 4, dtype=np.uint8), (8, 1))  # two a luma sample
    red = np.tile(np.arange(80, 80 + 32, 4, dtype=np.uint8), (16, 1)).T
    raw = b"".join(plane.tobytes() for plane in (luma, blue, red))
    path = tmp_path / "c.mp4"
    media.run_ffmpeg(
        "-f", "rawvideo", "-pixel_format", "yuv420p", "-video_size", "32x16", "-i", "pipe:0",
        "-vf", "setparams=colorspace=bt709:range=tv", "-c:v", "libx264", "-qp", "0",
        "-x264-params", f"chromaloc={number}", media.file_url(path), stdin=raw,
    )  # fmt: skip
    image = read(path)[0].image.astype(float)
    for y, x in itertools.product(range(4, 12), range(4, 28)):
        values = (128, 80 + 2 * (x - right), 80 + 2 * (y - down))
        wanted = 255 * expected_rgb(values, "bt709", "tv", 8)
        assert np.abs(image[y, x] - wanted).max() <= 1.1


def test_transparency_is_laid_over_black(tmp_path):
    pixels = np.full((4, 4, 4), (200, 100, 50, 255), np.uint8)
    pixels[:, 2:, 3] = 0
    pixels[0, 0, 3] = 51
    media.write_image(tmp_path / "a.png", pixels)
    image = read(tmp_path)[0].image
    assert image.shape == (4, 4, 3)
    assert image[1, 1].tolist() == [200, 100, 50]
    assert image[0, 0].tolist() == [40, 20, 10]
    assert image[:, 2:].max() == 0


@pytest.mark.parametrize("first", [0, 2, 9])
@pytest.mark.parametrize(
    ("name", "pixel_format", "encoder"),
    [
        ("a.gif", "pal8", ("-c:v", "gif")),
        ("a.mkv", "yuva444p10le", ("-c:v", "ffv1")),
        ("a.mov", "argb", ("-c:v", "qtrle")),
        ("a%d.png", "rgba", ("-c:v", "png")),
    ],
)
def test_transparency_is_reported_where_there_is_some(tmp_path, name, pixel_format, encoder, first):
    path = media.make_fading(
        tmp_path / name, first=first, pixel_format=pixel_format, encoder=encoder
    )
    reader = read_frames(probe(path))
    assert len(list(reader)) == 4
    assert (reader.report.transparency is not None) == (first < 4)


def test_a_header_that_ends_too_soon_does_not_end_the_video(tmp_path):
    info = probe(media.make_video(tmp_path / "a.mp4", num_frames=10))
    lying = replace(info, duration_seconds=Fraction(1, 10))
    require_start(lying, Fraction(9, 25))
    with pytest.raises(UserError, match="no frame in the chosen part"):
        require_start(lying, Fraction(10, 25))


# Geometry.


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_picture_is_turned_upright_once(tmp_path, degrees, mirrored):
    path = media.make_rotated(tmp_path / "r.mp4", degrees, mirrored=mirrored)
    stored = np.zeros((48, 64), "U5")
    stored[:, :32], stored[:, 32:], stored[:12] = "red", "blue", "green"
    wanted = np.rot90(stored, -degrees // 90)
    wanted = wanted[:, ::-1] if mirrored else wanted
    image = read(path)[0].image
    assert image.shape[:2] == wanted.shape
    for y, x in itertools.product((4, -5), (4, -5)):
        channel = ("red", "green", "blue").index(wanted[y, x])
        assert image[y, x].argmax() == channel


def test_odd_sizes_are_read_whole(tmp_path):
    encoder = ("-c:v", "libvpx-vp9", "-cpu-used", "8", "-deadline", "realtime")
    path = media.make_video(tmp_path / "o.webm", filters="scale=43:25", encoder=encoder)
    assert {frame.image.shape for frame in read(path)} == {(25, 43, 3)}


def test_interlaced_video_loses_its_combs_and_keeps_its_rate(tmp_path):
    path = media.make_interlaced(tmp_path / "i.mp4")
    info = probe(path)
    frames = list(read_frames(info))
    assert [frame.time for frame in frames] == [F(n, 25) for n in range(10)]
    woven = list(read_frames(replace(info, interlaced="progressive")))
    assert combing(frames[5].image) < 0.6 * combing(woven[5].image)


def combing(image: np.ndarray) -> float:
    """How much lines differ from both neighbours' mean, over the picture."""
    luma = image.astype(float).mean(axis=2)
    return float(np.abs(luma[1:-1] - (luma[:-2] + luma[2:]) / 2).mean())


def test_frames_may_be_written_to(tmp_path):
    frame = read(media.make_video(tmp_path / "a.mp4"))[0]
    assert frame.image.flags.writeable


# Damage, and stopping.


def test_a_file_cut_off_gives_what_decodes_and_says_so(tmp_path):
    reader = read_frames(probe(media.make_truncated(tmp_path / "t.mp4")))
    frames = list(reader)
    assert 10 <= len(frames) < 40
    assert "before its header says" in (reader.report.ended_early or "")
    assert reader.report.reached_end


def test_damage_in_the_middle_is_passed_and_reported(tmp_path):
    whole = media.make_video(tmp_path / "w.mp4", num_frames=50, options=("-g", "5"))
    data = bytearray(whole.read_bytes())
    middle = data.index(b"mdat") + 4 + (len(data) // 3)
    data[middle : middle + 400] = bytes(range(200, 220)) * 20
    hurt = tmp_path / "h.mp4"
    hurt.write_bytes(data)
    reader = read_frames(probe(hurt))
    assert len(list(reader)) >= 40
    assert "is damaged in places" in (reader.report.damage or "")


def test_pictures_that_change_their_size_are_told(tmp_path):
    mpeg2 = ("-c:v", "mpeg2video", "-q:v", "3", "-bf", "0")
    parts = [
        media.make_video(tmp_path / f"{size[0]}.ts", size=size, num_frames=10, options=mpeg2)
        for size in ((64, 48), (96, 48))
    ]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    reader = read_frames(probe(joined))
    assert {frame.image.shape for frame in reader} == {(48, 64, 3)}
    told = "joined.ts` changes its size: pictures of 96x48 are scaled to 64x48, that of the first"
    assert told in (reader.report.resized or "")
    torn = bytearray(joined.read_bytes())
    torn[-20_000::97] = bytes(len(torn[-20_000::97]))  # of which ffmpeg has much to say
    joined.write_bytes(torn)
    reader = read_frames(probe(joined))
    assert len(list(reader)) > 1
    assert reader.report.resized
    alone = read_frames(probe(parts[0]))
    assert len(list(alone)) == 10
    assert alone.report.resized is None


def test_streams_that_begin_too_late_are_told(tmp_path, monkeypatch):
    path = media.make_late_sound(tmp_path / "l.vob", begins=3, rest=15)
    reader = read_frames(probe(path))
    assert len(list(reader)) == 450
    assert reader.report.late is None
    monkeypatch.setitem(ffmpeg.OPENING, "probesize", "50000")
    reader = read_frames(probe(path))
    assert len(list(reader)) == 450
    told = "l.vob`, because it begins far behind the others: audio stream 2"
    assert told in (reader.report.late or "")


def test_hostile_names_are_only_names(tmp_path):
    assert len(read(media.make_video(tmp_path / media.HOSTILE_NAME))) == 10
