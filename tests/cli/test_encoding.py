from dataclasses import replace
from fractions import Fraction

import pytest

from diffst_cli import encoding as encoding_module
from diffst_cli.codecs import CODECS
from diffst_cli.encoding import Encoding, choose_encoding, encoder_works, has_filter
from diffst_cli.errors import UsageError, UserError
from diffst_cli.probe import Colour, VideoInfo, probe
from tests.outputs import make_clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> VideoInfo:
    return probe(make_clip(tmp_path_factory.mktemp("encoding") / "clip.mp4", num_frames=2))


def choose(
    info: VideoInfo,
    suffix: str,
    *,
    size: tuple[int, int] = (64, 48),
    codec: str | None = None,
    crf: float | None = None,
    preset: str | None = None,
) -> Encoding:
    return choose_encoding(info, suffix=suffix, size=size, codec=codec, crf=crf, preset=preset)


@pytest.mark.parametrize(
    ("suffix", "depth", "codec", "pixel_format"),
    [
        (".mp4", 8, "h264", "yuv420p"),
        (".mkv", 10, "hevc", "yuv420p10le"),
        (".avi", 10, "h264", "yuv420p10le"),
        (".webm", 8, "vp9", "yuv420p"),
        (".webm", 12, "vp9", "yuv420p10le"),
        (".gif", 8, "gif", "bgr0"),
        (".png", 10, "png", "rgb48be"),
    ],
)
def test_the_default_codec_fits_the_file_and_the_depth(
    suffix: str, depth: int, codec: str, pixel_format: str, clip: VideoInfo
) -> None:
    chosen = choose(replace(clip, bit_depth=depth), suffix)
    assert (chosen.codec.name, chosen.pixel_format) == (codec, pixel_format)


def test_without_x265_ten_bits_go_to_x264(clip: VideoInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding_module, "encoder_works", lambda encoder, _: encoder == "libx264")
    chosen = choose(replace(clip, bit_depth=10), ".mp4")
    assert (chosen.codec.name, chosen.pixel_format) == ("h264", "yuv420p10le")


def test_an_encoder_that_does_not_work_is_named(
    clip: VideoInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding_module, "encoder_works", lambda *_: False)
    with pytest.raises(UserError, match="cannot encode with `hevc_nvenc`"):
        choose(clip, ".mp4", codec="hevc_nvenc")


def test_an_encoder_is_tried_not_believed() -> None:
    assert encoder_works("libx264", "yuv420p")
    assert not encoder_works("libx264", "gbrap16le")
    assert not encoder_works("no_such_encoder", "yuv420p")


def test_a_filter_is_found_by_its_whole_name() -> None:
    assert has_filter("scale")
    assert not has_filter("scal")


@pytest.mark.parametrize("name", [name for name in CODECS if not name.endswith("nvenc")])
def test_every_codec_offered_works_with_the_bundled_ffmpeg(name: str) -> None:
    codec = CODECS[name]
    assert all(encoder_works(codec.encoder, form) for form in set(codec.pixel_formats))


def test_crf_and_preset_reach_the_encoder(clip: VideoInfo) -> None:
    options = choose(clip, ".mp4", crf=20.5, preset="slow").options
    assert (options["crf"], options["preset"]) == ("20.5", "slow")
    options = choose(clip, ".mp4").options
    assert (options["crf"], options["preset"]) == ("16", "veryfast")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"codec": "divx"}, "unknown codec `divx`"),
        ({"codec": "vp9"}, "`.mov` file cannot hold `vp9`"),
        ({"codec": "prores", "crf": 16}, "`prores` has no rate factor"),
        ({"crf": 52}, "`--crf` is `52`; `h264` takes 0 to 51"),
        ({"preset": "quick"}, "`h264` has no preset `quick`"),
        ({"codec": "ffv1", "preset": "slow"}, "`ffv1` has no preset `slow`"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    arguments: dict[str, object], message: str, clip: VideoInfo
) -> None:
    with pytest.raises(UsageError, match=message):
        choose(clip, ".mov", **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("codec", "suffix", "coded"),
    [
        ("h264", ".mp4", (66, 48)),
        ("prores", ".mov", (66, 47)),
        ("ffv1", ".mkv", (65, 47)),
        ("vp9", ".webm", (65, 47)),
        ("av1", ".webm", (66, 48)),
    ],
)
def test_odd_sides_are_padded_only_where_the_codec_needs_it(
    codec: str, suffix: str, coded: tuple[int, int], clip: VideoInfo
) -> None:
    assert choose(clip, suffix, codec=codec, size=(65, 47)).size == coded


def test_rounding_a_size_does_not_change_the_pixel_shape(clip: VideoInfo) -> None:
    info = replace(clip, width=427, height=241, sample_aspect=Fraction(8, 9))
    for scale in (Fraction(3, 2), Fraction(1, 3), Fraction(4), Fraction(27, 20)):
        size = (round(427 * scale), round(241 * scale))
        chosen = choose(info, ".mkv", size=size)
        assert chosen.sample_aspect == Fraction(8, 9)


def test_a_shape_that_no_player_can_undo_is_given_up(clip: VideoInfo) -> None:
    tall = replace(clip, width=32, height=16408, sample_aspect=Fraction(1))
    assert choose(tall, ".mkv", size=(16, 12)).sample_aspect == 1


def test_rgb_becomes_bt709_and_says_so(clip: VideoInfo) -> None:
    silent = Colour(matrix="gbr", range="pc", primaries=None, transfer=None, chroma_location=None)
    colour = choose(replace(clip, is_rgb=True, colour=silent), ".mp4").colour
    assert (colour.matrix, colour.range, colour.chroma_location) == ("bt709", "tv", "left")


@pytest.mark.parametrize(("matrix", "written"), [("fcc", "smpte170m"), ("bt2020c", "bt2020nc")])
def test_a_matrix_no_codec_can_name_is_replaced(matrix: str, written: str, clip: VideoInfo) -> None:
    info = replace(clip, colour=replace(clip.colour, matrix=matrix))
    assert choose(info, ".mp4").colour.matrix == written


@pytest.mark.parametrize(
    ("size", "aspect", "expected"),
    [
        ((128, 96), "4/3", "4/3"),
        ((128, 48), "1", "1/2"),  # twice as wide alone
        ((64, 96), "1", "2"),
        ((64, 96), "4/3", "8/3"),
        ((33, 25), "1", "1"),  # rounded to whole pixels only
    ],
)
def test_pixels_change_their_shape_so_that_the_picture_keeps_its(
    size: tuple[int, int], aspect: str, expected: str, clip: VideoInfo
) -> None:
    wide = replace(clip, sample_aspect=Fraction(aspect))
    chosen = choose(wide, ".mkv", size=size)
    assert chosen.sample_aspect == Fraction(expected)
    assert any("pixels become" in note for note in chosen.notes) == (expected != aspect)


@pytest.mark.parametrize(
    ("depth", "pixel_format"), [(8, "bgr0"), (9, "gbrp10le"), (10, "gbrp10le"), (12, "gbrp16le")]
)
def test_no_bit_is_lost_without_loss(depth: int, pixel_format: str, clip: VideoInfo) -> None:
    chosen = choose(replace(clip, bit_depth=depth), ".mkv", codec="ffv1")
    assert chosen.pixel_format == pixel_format


def test_frames_are_stored_as_shown_where_there_are_no_times(clip: VideoInfo) -> None:
    assert choose(clip, ".avi").options["bf"] == "0"
    assert "bf" not in choose(clip, ".mkv").options
