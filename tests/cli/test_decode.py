"""What ffmpeg is told when it decodes."""

from dataclasses import replace
from fractions import Fraction

import pytest

from diffst_cli import decode
from diffst_cli.decode import BLIND_SEEK_SECONDS, decode_arguments
from diffst_cli.probe import VideoInfo, probe
from tests.outputs import make_clip


@pytest.fixture(scope="module")
def info(tmp_path_factory: pytest.TempPathFactory) -> VideoInfo:
    return probe(make_clip(tmp_path_factory.mktemp("clip") / "clip.mkv", num_frames=2))


def option(arguments: list[str], name: str) -> str:
    return arguments[arguments.index(name) + 1]


def test_a_file_is_entered_a_little_before_where_it_is_wanted_counted_from_its_beginning(
    info: VideoInfo,
) -> None:
    late = replace(info, origin_seconds=Fraction(50))
    assert option(decode_arguments(late, Fraction(90)), "-ss") == "39.900000"
    blind = replace(late, container="mpegts")
    assert (
        option(decode_arguments(blind, Fraction(90)), "-ss") == f"{40 - BLIND_SEEK_SECONDS}.000000"
    )
    for begin in (Fraction(51), Fraction(60), None):  # where too little is left before it
        assert "-ss" not in decode_arguments(blind, begin)
    raw = replace(late, container="h264")
    assert "-ss" not in decode_arguments(raw, Fraction(90))
    assert "-ss" not in decode_arguments(late, None)


@pytest.mark.parametrize("order", ["tff", "bff"])
def test_every_frame_of_interlaced_video_is_made_whole_whatever_it_says_itself(
    info: VideoInfo, order: str
) -> None:
    graph = option(decode_arguments(replace(info, interlaced=order), None), "-filter_complex")
    (arguments,) = [part for part in graph.split(";") if "bwdif=" in part]
    said = arguments.partition("bwdif=")[2].partition("[")[0].split(":")
    assert sorted(said) == ["deint=all", "mode=send_frame", f"parity={order}"]
    assert "bwdif" not in option(decode_arguments(info, None), "-filter_complex")


@pytest.mark.parametrize(
    ("depth", "range_", "is_rgb", "expected"),
    [
        (8, "tv", False, None),
        (10, "tv", False, ("tv", 10)),
        (12, "pc", False, ("pc", 12)),
        (10, "pc", True, None),
    ],
)
def test_white_is_put_right_in_deep_video_that_is_converted(
    info: VideoInfo,
    depth: int,
    range_: str,
    is_rgb: bool,
    expected: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decode, "deep_white", lambda *asked: asked)
    colour = replace(info.colour, range=range_)
    assert decode._white(replace(info, bit_depth=depth, colour=colour, is_rgb=is_rgb)) == expected
