from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from diffst_cli import muxing
from diffst_cli.errors import UserError
from diffst_cli.gif import gif_loop, make_gif
from diffst_cli.muxing import Placement, mux_arguments, place, run_ffmpeg
from diffst_cli.probe import VideoInfo, probe
from diffst_cli.reader import read_frames
from diffst_cli.streams import plan_streams
from tests.outputs import TONE, copy_video, frame_times, make, make_clip

WHOLE = Placement(video_offset=Fraction(0), skipped=None, length=None)


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory) -> VideoInfo:
    """A transport stream, whose clock starts after 1 s, with the picture after the sound."""
    folder = tmp_path_factory.mktemp("muxing")
    picture = make_clip(folder / "picture.mp4")
    inputs = ["-itsoffset", "0.2", "-i", str(picture), "-f", "lavfi", "-i", f"{TONE}:duration=1"]
    return probe(make(folder / "late.ts", *inputs, "-c:v", "copy", "-c:a", "mp2"))


def test_the_whole_source_keeps_its_offsets(late: VideoInfo) -> None:
    assert late.origin_seconds > 1
    placement = place(late, late.start_seconds, late.start_seconds + 1, start=None, duration=None)
    assert placement.skipped is None
    assert placement.length is None
    assert float(placement.video_offset) == pytest.approx(0.2, abs=0.03)


def test_a_cut_begins_with_its_first_frame(late: VideoInfo) -> None:
    first = late.origin_seconds + Fraction(32, 100)  # the first frame at or after 0.3 s
    end = first + Fraction(1, 5)
    placement = place(late, first, end, start=Fraction(3, 10), duration=Fraction(1, 2))
    assert placement.video_offset == 0
    assert placement.skipped == Fraction(32, 100)
    assert placement.length == Fraction(48, 100)


def test_a_length_alone_counts_from_the_source_s_beginning(late: VideoInfo) -> None:
    first = late.origin_seconds + Fraction(1, 5)
    placement = place(late, first, first, start=None, duration=Fraction(1, 2))
    assert (placement.video_offset, placement.length) == (Fraction(1, 5), Fraction(1, 2))


def test_a_frame_that_outlasts_the_cut_is_kept(late: VideoInfo) -> None:
    end = late.origin_seconds + 2
    placement = place(late, late.origin_seconds, end, start=None, duration=Fraction(1, 2))
    assert placement.length == 2


def test_ffmpeg_may_open_only_files(late: VideoInfo, tmp_path: Path) -> None:
    plan = plan_streams(late, ".mkv")
    arguments = mux_arguments(
        tmp_path / "video.mp4", late, plan, WHOLE, tmp_path / "-out.mkv", covers=[]
    )
    inputs = [arguments[n + 1] for n, word in enumerate(arguments) if word == "-i"]
    assert inputs == ["file:video.mp4", f"file:{late.path}"]  # ours by its name in its folder
    assert arguments.count("-protocol_whitelist") == len(inputs)
    named = [word for word in arguments if "out.mkv" in word]
    assert named == [f"file:{tmp_path / '-out.mkv'}"]
    # A clock may be set on the way: its pictures are looked at, and written nowhere.
    rest = arguments[arguments.index(named[0]) + 1 :]
    assert rest == ["-map", "1:0", "-c", "copy", "-f", "null", "-"]


def test_facts_of_the_source_s_file_are_not_copied_as_tags(tmp_path: Path) -> None:
    source = probe(make_clip(tmp_path / "source.mp4", "-metadata", "artist=Nobody"))
    assert "major_brand" in source.tags
    plan = plan_streams(source, ".mkv")
    output = tmp_path / "out.mkv"
    picture = make_clip(tmp_path / "picture.mp4", num_frames=2)
    run_ffmpeg(
        mux_arguments(picture, source, plan, WHOLE, output, covers=[]),
        "testing",
        folder=picture.parent,
    )
    tags = {name.lower(): value for name, value in probe(output).tags.items()}
    assert tags["artist"] == "Nobody"
    assert "major_brand" not in tags


def subtitles(path: Path) -> list[tuple[bytes, Fraction, Fraction]]:
    """The last letter of each subtitle, when it is shown, and how long."""
    with av.open(path) as container:
        packets = [each for each in container.demux(subtitles=0) if b"word" in bytes(each)]
    return [
        (bytes(each)[-1:], each.pts * each.time_base, each.duration * each.time_base)
        for each in packets
    ]


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_subtitles_shown_beyond_a_cut_end_with_it(suffix: str, tmp_path: Path) -> None:
    words = tmp_path / "words.srt"
    spans = ["00,000 --> 00:00:00,200", "00,300 --> 00:00:00,600", "00,700 --> 00:00:03,000"]
    words.write_text("".join(f"{n}\n00:00:{span}\nword {n}\n\n" for n, span in enumerate(spans)))
    source = probe(make_clip(tmp_path / "source.mkv", "-i", str(words), "-c:s", "srt"))
    part = Placement(video_offset=Fraction(0), skipped=Fraction(2, 5), length=Fraction(1, 2))
    output = tmp_path / f"out{suffix}"
    arguments = mux_arguments(
        source.path, source, plan_streams(source, suffix), part, output, covers=[]
    )
    run_ffmpeg(arguments, "testing", folder=source.path.parent)
    assert subtitles(output) == [
        (b"1", 0, Fraction(1, 5)),
        (b"2", Fraction(3, 10), Fraction(1, 5)),
    ]


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
@pytest.mark.parametrize(("skipped", "longest"), [(Fraction(50), 300), (Fraction(1001, 20), 35)])
def test_a_subtitle_from_long_before_a_cut_is_kept(
    skipped: Fraction, longest: int, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the source is entered, at a picture that needs no other, its packet is long past."""
    monkeypatch.setattr(muxing, "LONGEST_SUBTITLE", Fraction(longest))
    words = tmp_path / "words.srt"
    spans = [
        "00:01,000 --> 00:00:20,000",
        "00:20,000 --> 00:00:54,000",
        "00:55,000 --> 00:00:57,000",
    ]
    words.write_text("".join(f"{n}\n00:{span}\nword {n}\n\n" for n, span in enumerate(spans)))
    frames = ["-r", "1", "-x264-params", "keyint=20:min-keyint=20:scenecut=0"]
    source = probe(
        make_clip(
            tmp_path / "source.mkv", "-i", str(words), "-c:s", "srt", *frames, num_frames=1700
        )
    )
    part = Placement(video_offset=Fraction(0), skipped=skipped, length=Fraction(10))
    output = tmp_path / f"out{suffix}"
    arguments = mux_arguments(
        source.path, source, plan_streams(source, suffix), part, output, covers=[]
    )
    run_ffmpeg(arguments, "testing", folder=source.path.parent)
    assert subtitles(output) == [
        (b"1", 0, 54 - skipped),
        (b"2", 55 - skipped, Fraction(2)),
    ]


def test_a_failing_ffmpeg_is_told_with_what_it_was_doing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ffmpeg failed while testing: .*No such file"):
        run_ffmpeg(["-i", str(tmp_path / "missing.mp4"), "-f", "null", "-"], "testing")


def test_a_gif_has_the_video_s_frames_and_times(tmp_path: Path) -> None:
    video = make_clip(tmp_path / "video.mov", "-c:v", "ffv1", "-pix_fmt", "bgr0")
    output = tmp_path / "out.gif"
    make_gif(video, output)
    assert frame_times(output) == [Fraction(n, 25) for n in range(10)]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out.gif", "video.mov"]
    before = next(read_frames(probe(video))).image.astype(int)
    after = next(read_frames(probe(output))).image.astype(int)
    assert np.abs(after - before).mean() < 4  # of 255: 256 colours for a picture of few


def test_a_gif_of_an_uneven_video_keeps_its_times(tmp_path: Path) -> None:
    uneven = "setpts='if(lt(N,5),N*8,N*9)/100/TB'"
    encoder = ["-c:v", "ffv1", "-pix_fmt", "bgr0", "-fps_mode", "passthrough"]
    encoder += ["-enc_time_base", "1/100"]
    video = make_clip(tmp_path / "video.mov", "-vf", f"settb=1/100,{uneven}", *encoder)
    output = tmp_path / "out.gif"
    make_gif(video, output)
    assert frame_times(output) == [Fraction(n * (8 if n < 5 else 9), 100) for n in range(10)]


@pytest.mark.parametrize("loop", [-1, 0, 3])
def test_a_gif_of_a_gif_is_repeated_as_often(loop: int, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "source.gif", "-loop", str(loop), num_frames=2)
    assert gif_loop(probe(source)) == loop
    output = tmp_path / "out.gif"
    assert copy_video(source, output).ok
    assert gif_loop(probe(output)) == loop
    assert gif_loop(probe(make_clip(tmp_path / "video.mp4", num_frames=2))) == 0
