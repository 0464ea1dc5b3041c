"""What a file holds is told exactly; what is not one video file is refused."""

from fractions import Fraction
from pathlib import Path

import pytest
from av.video.codeccontext import VideoCodecContext

from diffst_cli import file_times
from diffst_cli.errors import UserError
from diffst_cli.ffmpeg_facts import find_unkept
from diffst_cli.probe import Colour, probe, resolved_colour
from tests import media

F = Fraction


def test_a_plain_video_is_described_exactly(tmp_path):
    info = probe(media.make_video(tmp_path / "a.mp4", size=(62, 34), rate="30000/1001"))
    assert (info.width, info.height) == (info.stored_width, info.stored_height) == (62, 34)
    assert (info.codec, info.pixel_format, info.bit_depth) == ("h264", "yuv420p", 8)
    assert (info.frame_rate, info.is_variable) == (F(30000, 1001), False)
    assert (info.num_frames, info.duration_seconds) == (10, F(10 * 1001, 30000))
    assert info.start_seconds == info.origin_seconds == 0
    assert (info.rotation, info.mirrored, info.sample_aspect) == (0, False, F(1))
    assert (info.interlaced, info.has_alpha, info.bytes_per_sample) == ("progressive", False, 1)
    assert info.colour == Colour(
        matrix="bt709", range="tv", primaries="bt709", transfer="bt709", chroma_location="left"
    )


def test_every_stream_chapter_and_tag_is_told(tmp_path):
    info = probe(media.make_rich(tmp_path / "rich.mkv"))
    assert [(s.kind, s.codec, s.language) for s in info.streams] == [
        ("video", "h264", None),
        ("audio", "aac", "eng"),
        ("audio", "opus", "fra"),
        ("subtitle", "srt", "rus"),
        ("subtitle", "ssa", None),
        ("attachment", "unknown", None),
    ]
    assert info.streams[4].disposition == ("forced",)
    assert info.num_chapters == 2
    assert info.tags["title"] == "rich"


def test_a_variable_rate_is_told_from_rounding(tmp_path):
    assert probe(media.make_variable_rate(tmp_path / "v.mp4")).is_variable
    rounded = probe(media.make_video(tmp_path / "c.mkv", rate="24000/1001"))
    assert (rounded.is_variable, rounded.frame_rate) == (False, F(24000, 1001))


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_display_matrix_gives_rotation_and_mirroring(tmp_path, degrees, mirrored):
    info = probe(media.make_rotated(tmp_path / "r.mp4", degrees, mirrored=mirrored))
    turn = -degrees % 360 if mirrored else degrees  # ours mirrors first, ffmpeg's option last
    assert (info.rotation, info.mirrored) == (turn, mirrored)
    assert (info.width, info.height) == ((48, 64) if degrees in (90, 270) else (64, 48))


def test_the_sample_aspect_turns_with_the_picture(tmp_path):
    wide = media.make_video(tmp_path / "w.mp4", filters="setsar=4/3")
    assert probe(wide).sample_aspect == F(4, 3)
    media.run_ffmpeg(
        "-display_rotation", "90", "-i", media.file_url(wide), "-c", "copy",
        media.file_url(tmp_path / "t.mp4"),
    )  # fmt: skip
    assert probe(tmp_path / "t.mp4").sample_aspect == F(3, 4)


def test_a_sample_aspect_that_no_video_has_counts_as_unstated(tmp_path):
    absurd = media.make_video(tmp_path / "a.mp4", filters="setsar=3/2051")
    assert probe(absurd).sample_aspect == 1


def test_deep_hlg_keeps_its_depth_and_tags(tmp_path):
    tags = "setparams=colorspace=bt2020nc:color_primaries=bt2020:color_trc=arib-std-b67:range=tv"
    path = media.make_video(tmp_path / "h.mp4", filters=tags, pixel_format="yuv420p10le")
    info = probe(path)
    assert (info.bit_depth, info.bytes_per_sample) == (10, 2)
    assert (info.colour.matrix, info.colour.transfer) == ("bt2020nc", "arib-std-b67")


@pytest.mark.parametrize("top_first", [True, False])
@pytest.mark.parametrize("flagged", [True, False])
def test_interlacing_is_found_flagged_or_not(tmp_path, top_first, flagged):
    path = media.make_interlaced(tmp_path / "i.mp4", top_first=top_first, flagged=flagged)
    assert probe(path).interlaced == ("tff" if top_first else "bff")


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ("scale=720:576,setfield=tff", "progressive"),  # a film, sent as if it were interlaced
        (
            "scale=720:576,framestep=50,loop=40:1,setpts=N/25/TB,setfield=tff",
            "tff",
        ),  # nothing moves
        ("scale=720:576,telecine=pattern=23,setfield=tff", "tff"),  # two frames of five are woven
    ],
    ids=["film", "still", "telecine"],
)
@pytest.mark.parametrize("name", ["i.ts", "i.mkv"])
def test_whole_pictures_that_are_called_interlaced_are_left_as_they_are(
    tmp_path, filters, expected, name
):
    path = media.make_video(
        tmp_path / name,
        num_frames=40,
        filters=filters,
        encoder=("-c:v", "mpeg2video", "-q:v", "4", "-flags", "+ilme+ildct"),
    )
    assert probe(path).interlaced == expected


@pytest.mark.skipif(
    not hasattr(VideoCodecContext, "field_order"), reason="this PyAV does not tell the header's"
)
@pytest.mark.parametrize("order", ["tff", "bff"])
@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"),
    [
        ("i.mkv", "ffv1", "yuv422p10le"),
        ("i.mkv", "mpeg2video", "yuv420p"),
        ("i.ts", "mpeg2video", "yuv420p"),
        ("i.mov", "prores_ks", "yuv422p10le"),
        ("i.mov", "v210", "yuv422p10le"),
    ],
)
def test_the_field_order_of_a_header_is_that_of_the_pictures(
    tmp_path, order, name, codec, pixel_format
):
    path = media.make_video(
        tmp_path / name,
        num_frames=4,
        rate="50",
        filters=f"interlace=scan={order}:lowpass=0,setfield={order}",
        pixel_format=pixel_format,
        encoder=("-c:v", codec, "-flags", "+ilme+ildct"),
    )
    assert probe(path).interlaced == order


def test_the_pictures_own_field_order_counts_more_than_the_container_s(tmp_path):
    path = media.make_interlaced(tmp_path / "i.mkv", size=(180, 144))
    data = path.read_bytes()
    assert data.count(b"\x9d\x81\x09") == 1  # Matroska's FieldOrder: woven, top first
    path.write_bytes(data.replace(b"\x9d\x81\x09", b"\x9d\x81\x0e"))
    assert probe(path).interlaced == "tff"


def test_a_progressive_video_of_an_interlaced_size_stays_progressive(tmp_path):
    path = media.make_video(tmp_path / "p.mp4", size=(720, 576), num_frames=12, filters="gblur=2")
    assert probe(path).interlaced == "progressive"


@pytest.mark.parametrize(
    ("size", "tags", "expected"),
    [
        ((64, 48), "null", ("smpte170m", "tv")),
        ((1280, 720), "null", ("bt709", "tv")),
        ((64, 48), "setparams=colorspace=bt2020nc:range=pc", ("bt2020nc", "pc")),
    ],
)
def test_unstated_colour_is_resolved_by_size(tmp_path, size, tags, expected):
    info = probe(media.make_video(tmp_path / "c.mp4", size=size, num_frames=1, filters=tags))
    colour = resolved_colour(info)
    assert (colour.matrix, colour.range) == expected


def test_the_chroma_location_is_read_and_else_taken_as_left(tmp_path):
    placed = media.make_video(tmp_path / "t.mp4", options=("-x264-params", "chromaloc=2"))
    assert probe(placed).colour.chroma_location == "topleft"
    silent = media.make_video(tmp_path / "s.avi", encoder=("-c:v", "ffv1"))
    assert probe(silent).colour.chroma_location is None
    assert resolved_colour(probe(silent)).chroma_location == "left"


def test_rgb_needs_no_matrix(tmp_path):
    info = probe(media.make_gif(tmp_path / "g.gif"))
    assert info.is_rgb
    assert info.has_alpha
    assert (resolved_colour(info).matrix, resolved_colour(info).range) == ("gbr", "pc")


def test_the_first_frame_may_come_late(tmp_path):
    info = probe(media.make_with_audio(tmp_path / "a.ts"))
    assert info.start_seconds >= info.origin_seconds > 1


@pytest.mark.parametrize(
    ("encoder", "expected"),
    [
        ((*media.FAST_X264, "-bf", "2"), True),
        (media.FAST_X264, False),
        (("-c:v", "mpeg2video", "-g", "1"), False),
        (("-c:v", "mpeg2video", "-bf", "2"), False),
    ],
)
def test_only_an_mxf_that_lacks_the_order_of_showing_is_counted_anew(tmp_path, encoder, expected):
    info = probe(media.make_video(tmp_path / "a.mxf", encoder=encoder))
    assert info.counts_stored is expected


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.ts", ()),
        ("a.mp4", ("-movflags", "+frag_keyframe+empty_moov")),
        ("a.mp4", ("-use_editlist", "0")),
    ],
)
def test_a_clock_that_begins_between_microseconds_begins_with_the_video(tmp_path, name, options):
    encoder = (*media.FAST_X264, "-bf", "2")
    info = probe(media.make_video(tmp_path / name, rate="30", encoder=encoder, options=options))
    assert info.origin_seconds == info.start_seconds
    assert info.origin_seconds.denominator in (3, 15, 30), "of 30 frames a second"


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.avi", "a.ts", "a.flv", "a.mpg"])
def test_every_usual_container_counts_its_frames(tmp_path, name):
    encoder = ("-c:v", "mpeg2video") if name.endswith("mpg") else media.FAST_X264
    info = probe(media.make_video(tmp_path / name, encoder=encoder))
    assert (info.num_frames, info.frame_rate) == (10, F(25))
    assert info.duration_seconds == pytest.approx(0.4, abs=0.001)  # Matroska and FLV count in ms


def test_a_cover_picture_is_not_the_video(tmp_path):
    media.run_ffmpeg(
        *media.pattern((32, 32), 1, "25"), *media.pattern((64, 48), 5, "25"), "-map", "0", "-map", "1",
        "-c:v:0", "mjpeg", "-c:v:1", "libx264", "-disposition:v:0", "attached_pic", "-frames:v:0", "1",
        media.file_url(tmp_path / "c.mp4"),
    )  # fmt: skip
    info = probe(tmp_path / "c.mp4")
    assert (info.width, info.codec) == (64, "h264")


def test_a_length_of_more_digits_than_any_has_is_none():
    assert file_times._clock_seconds("00:01:02.500000000") == F(125, 2)
    assert file_times._clock_seconds(f"{'9' * 5000}:00:00") is None
    assert file_times._clock_seconds(f"00:00:00.{'9' * 5000}") is None


def test_of_an_animated_picture_the_moving_ones_are_meant(tmp_path):
    path = tmp_path / "a.avif"
    source = media.pattern((64, 48), 6, "10")
    media.run_ffmpeg(*source, "-frames:v", "6", "-c:v", "libaom-av1", "-cpu-used", "8", path)
    info = probe(path)
    assert (info.num_frames, info.frame_rate) == (6, F(10))


def test_an_animated_webp_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "a.webp"
    media.run_ffmpeg(*media.pattern((64, 48), 6, "10"), "-c:v", "libwebp_anim", path)
    with pytest.raises(UserError, match="not a video that can be read") as told:
        probe(path)
    assert "an animated WebP; make a video of it first" in str(told.value.hint)


def test_a_stream_that_is_only_announced_is_empty(tmp_path):
    info = probe(media.make_silent_track(tmp_path / "s.ts"))
    assert [(s.kind, s.is_empty) for s in info.streams] == [
        ("video", False),
        ("audio", False),
        ("audio", True),
    ]


def test_a_video_that_is_only_announced_is_not_the_video(tmp_path):
    media.run_ffmpeg(
        *media.pattern((32, 32), 5, "25"), *media.pattern((64, 48), 5, "25"), "-map", "0", "-map", "1",
        "-c:v", "mpeg2video", "-streamid", "0:300", "-streamid", "1:301", media.file_url(tmp_path / "t.ts"),
    )  # fmt: skip
    assert probe(tmp_path / "t.ts").width == 32
    media.drop_packets(tmp_path / "t.ts", 300)
    info = probe(tmp_path / "t.ts")
    assert (info.stream_index, info.width, info.num_frames) == (1, 64, 5)
    assert [stream.is_empty for stream in info.streams] == [True, False]


@pytest.mark.parametrize("name", ["l.ts", "l.vob"])
def test_a_stream_that_begins_late_is_found(tmp_path, name):
    sound = probe(media.make_late_sound(tmp_path / name)).streams[2]
    assert (sound.kind, sound.num_channels, sound.is_empty) == ("audio", 1, False)


def test_hostile_names_are_only_names(tmp_path):
    assert probe(media.make_video(tmp_path / media.HOSTILE_NAME)).num_frames == 10


def test_what_comes_with_pictures_and_is_not_kept_is_told(tmp_path):
    views = ("-metadata:s:v", "stereo_mode=left_right")
    packed = media.make_video(tmp_path / "p.mkv", options=views)
    assert probe(packed).unkept == ("that the video is 3D (side by side) is not kept",)
    flat = media.make_video(tmp_path / "f.mkv", options=("-metadata:s:v", "stereo_mode=mono"))
    assert probe(flat).unkept == ()
    captions = probe(media.make_captioned(tmp_path / "c.h264")).unkept
    assert captions == ("closed captions inside the pictures are left out",)


def test_what_ffmpeg_tells_of_another_stream_is_not_the_video_s():
    report = (
        "  Stream #0:0[0x1](und): Video: h264, yuv420p, 96x48\n"
        "  Stream #0:1[0x2](und): Video: hevc (Main 10), yuv420p10le, 64x48\n"
        "    Side data:\n"
        "      Spherical Mapping: equirectangular \n"
        "      DOVI configuration record: version: 1.0, profile: 5, level: 1, rpu flag: 1\n"
        "  Stream #0:10(und): Video: hevc\n"
    )
    assert list(find_unkept(report, 0)) == []
    sphere, dolby, colours = find_unkept(report, 1)
    assert sphere == "that the video is one of 360 degrees (equirectangular) is not kept"
    assert dolby == "Dolby Vision's own data is not kept"
    assert colours.startswith("its colours will be wrong: ")
    assert list(find_unkept(report.replace("profile: 5", "profile: 8"), 1)) == [sphere, dolby]


# What is refused.


def refuse(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        probe(path)
    return str(caught.value)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_what_cannot_be_opened_is_named(tmp_path):
    assert "no such file" in refuse(tmp_path / "absent.mp4")
    assert "is empty" in refuse(write(tmp_path / "empty.mp4", b""))
    assert "no pictures in the folder" in refuse(tmp_path)
    assert "not a regular file" in refuse(Path("/dev/zero"))


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1/a.mp4", "rtmp://h/a", "concat:a.mp4|b.mp4", "data:video/mp4,x"]
)
def test_addresses_are_refused(address):
    assert "is an address" in refuse(Path(address))


@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4"])
@pytest.mark.parametrize(
    "content",
    [
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile '{target}'\n",
        b"\xef\xbb\xbf#EXTM3U\n{target}\n",
        b'<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>',
        b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\n",
    ],
)
def test_playlists_are_refused_whatever_their_name(tmp_path, name, content):
    target = media.make_video(tmp_path / "target.mp4")
    path = write(tmp_path / name, content.replace(b"{target}", str(target).encode()))
    assert "is a playlist" in refuse(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("words.mp4", b"just some words, long enough to look at\n" * 20),
        ("words.txt", b"just some words, long enough to look at\n" * 20),
        ("art.ans", b"\x1b[31mred\n" * 20),
        ("drawing.svg", b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'),
        ("drawing.mp4", b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'),
        ("subtitles.srt", b"1\n00:00:00,000 --> 00:00:01,000\nhello\n"),
        ("noise.mp4", bytes(range(256)) * 64),
    ],
)
def test_what_is_no_video_is_refused_whatever_its_name(tmp_path, name, content):
    assert "is not a video" in refuse(write(tmp_path / name, content))


def test_a_picture_of_tiles_is_refused(tmp_path):
    assert "is a picture made of tiles" in refuse(media.make_tiled(tmp_path / "t.avif"))


def test_a_file_without_pictures_is_refused(tmp_path):
    assert "no video stream" in refuse(media.make_audio_only(tmp_path / "a.mp4"))


def test_a_video_whose_data_is_missing_is_refused(tmp_path):
    whole = media.make_video(tmp_path / "w.mp4", options=("-movflags", "+faststart")).read_bytes()
    start = whole.index(b"mdat") + 4
    gutted = write(tmp_path / "g.mp4", whole[:start] + bytes(len(whole) - start))
    assert "no picture can be decoded" in refuse(gutted)
