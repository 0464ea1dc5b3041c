"""Real files of awkward kinds, through the command line and the model in the package."""

import json
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from diffst_cli.app import main
from diffst_cli.probe import VideoInfo, probe
from diffst_cli.reader import Frame, read_frames
from tests.end_to_end.command import diffst, names
from tests.media import (
    BT709_TAGS,
    HOSTILE_NAME,
    make_fading,
    make_gif,
    make_interlaced,
    make_png_folder,
    make_rich,
    make_rotated,
    make_truncated,
    make_variable_rate,
    make_video,
    make_with_audio,
    run_ffmpeg,
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user is."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def upscale(source: str | Path, output: str, *options: str) -> VideoInfo:
    """Runs the command, which must succeed, and looks at what it made."""
    assert main(["upscale", str(source), output, *options, "--receipt", "receipt.json"]) == 0
    receipt = json.loads(Path("receipt.json").read_text(encoding="utf-8"))
    assert receipt["ok"]
    assert [check for check in receipt["checks"] if not check["ok"]] == []
    return probe(Path(output))


def frames(path: str | Path) -> list[Frame]:
    return list(read_frames(probe(Path(path))))


def test_one_command_makes_a_video_larger_and_smoother(folder: Path):
    make_with_audio(folder / "in.mp4")
    done = diffst("upscale", "in.mp4", "out.mp4", "--fps-x", "2", folder=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "wrote: `out.mp4`\n  256x192, 50 fps, 0.4 s, 20 frames from 10\n" in done.stderr
    assert "✓ frames: 20" in done.stderr
    assert names(folder) == {"in.mp4", "out.mp4"}
    made = probe(folder / "out.mp4")
    assert (made.width, made.height, made.num_frames) == (256, 192, 20)
    assert [stream.kind for stream in made.streams] == ["video", "audio"]


def test_the_picture_is_that_of_the_input(folder: Path):
    make_video(folder / "in.mp4", size=(96, 64), num_frames=3)
    upscale("in.mp4", "out.mkv", "--scale", "2", "--codec", "ffv1")
    for before, after in zip(frames("in.mp4"), frames("out.mkv"), strict=True):
        shrunk = after.image.reshape(64, 2, 96, 2, 3).mean((1, 3))
        assert np.abs(shrunk - before.image.astype(float)).mean() < 8  # of 255; sharper, not other


def test_hostile_names_are_names(folder: Path):
    make_video(folder / HOSTILE_NAME, num_frames=2)
    result = f"-ö {HOSTILE_NAME}"
    assert main(["upscale", "-q", "--scale", "1", "--", HOSTILE_NAME, result]) == 0
    assert main(["upscale", "-q", "--scale", "1", f"./{HOSTILE_NAME}", "./-x.mkv"]) == 0
    assert names(folder) == {HOSTILE_NAME, result, "-x.mkv"}


@pytest.mark.parametrize("name", ["why? #1.mkv", "why? #1.gif"])
def test_signs_that_end_an_address_are_part_of_a_name(folder: Path, name: str):
    make_video(folder / "in.mp4", num_frames=2)
    (folder / "q?d").mkdir()
    assert main(["upscale", "-q", "--scale", "1", "in.mp4", f"q?d/{name}"]) == 0
    assert names(folder / "q?d") == {name}


def test_quiet_says_nothing(folder: Path, capsys: pytest.CaptureFixture[str]):
    make_video(folder / "in.mp4", num_frames=2)
    assert main(["upscale", "in.mp4", "out.mp4", "--quiet", "--scale", "1"]) == 0
    assert capsys.readouterr() == ("", "")


def test_a_turned_phone_video_stands_upright(folder: Path):
    make_rotated(folder / "in.mp4", 90)
    before = probe(folder / "in.mp4")
    made = upscale("in.mp4", "out.mp4", "--scale", "1.5")
    assert (made.width, made.height) == (before.width * 3 // 2, before.height * 3 // 2)
    assert made.rotation == 0
    corners = (np.s_[:16, :16], np.s_[-16:, :16], np.s_[16:-16, -12:])
    image = frames("out.mp4")[0].image
    strongest = [int(image[corner].mean((0, 1)).argmax()) for corner in corners]
    assert strongest == [0, 2, 1]  # the stored left is red and its right blue, the stored top green


def test_a_variable_rate_keeps_its_times(folder: Path):
    make_variable_rate(folder / "in.mp4")
    before = [frame.time for frame in frames("in.mp4")]
    made = upscale("in.mp4", "out.mp4", "--scale", "1", "--fps-x", "2")
    after = [frame.time for frame in frames("out.mp4")]
    assert made.is_variable
    assert len(after) == 2 * len(before)
    shift = after[0] - before[0]
    assert all(
        abs(a - b - shift) < Fraction(1, 1000) for a, b in zip(after[::2], before, strict=True)
    )


def test_the_summary_of_a_part_tells_its_own_length(
    folder: Path, capsys: pytest.CaptureFixture[str]
):
    make_variable_rate(folder / "in.mp4", ticks=[0, 20, 40, 60, 80, 100, 400, 700, 1000])
    upscale("in.mp4", "out.mp4", "--scale", "1", "--duration", "0.1")
    assert "  64x48, 50 fps, 0.1 s, 5 frames from 5\n" in capsys.readouterr().err


def test_a_short_last_segment_leaves_the_rate_constant(folder: Path):
    last_shot = "drawbox=w=iw:h=ih:c=white:t=fill:enable='gte(n,65)'"
    make_video(folder / "in.mp4", num_frames=66, filters=f"{last_shot},{BT709_TAGS}")
    upscale("in.mp4", "out.mp4", "--scale", "0.5")
    with av.open("out.mp4") as made:
        (stream,) = made.streams.video
        assert (stream.frames, stream.average_rate) == (66, 25)
        decoded = [packet.dts for packet in made.demux(stream) if packet.dts is not None]
    assert len({after - before for before, after in pairwise(decoded)}) == 1


def test_an_avi_has_no_empty_frames(folder: Path):
    make_video(folder / "in.mp4", rate="30000/1001", num_frames=4)
    upscale("in.mp4", "out.avi", "--scale", "1")
    with av.open("out.avi") as made:
        (stream,) = made.streams.video
        assert (stream.frames, stream.average_rate) == (4, Fraction(30000, 1001))


@pytest.mark.parametrize("is_told", [True, False])
def test_lost_transparency_is_told(is_told: bool, folder: Path, capsys: pytest.CaptureFixture[str]):
    make_fading(folder / "in.gif", first=2 if is_told else 9, pixel_format="pal8")
    upscale("in.gif", "out.mp4", "--scale", "1")
    told = "what is transparent becomes black: diffst writes no transparency"
    assert (f"warning: {told}" in capsys.readouterr().err) == is_told
    notes = json.loads((folder / "receipt.json").read_text(encoding="utf-8"))["notes"]
    assert notes == ([told] if is_told else [])


@pytest.mark.parametrize(("pixel_format", "is_told"), [("yuva420p", True), ("yuv420p", False)])
def test_transparency_that_is_not_even_decoded_is_told(
    pixel_format: str, is_told: bool, folder: Path, capsys: pytest.CaptureFixture[str]
):
    encoder = ("-c:v", "libvpx-vp9", "-deadline", "realtime")
    make_video(folder / "in.webm", pixel_format=pixel_format, encoder=encoder, num_frames=2)
    upscale("in.webm", "out.mp4", "--scale", "1")
    told = "warning: what is transparent becomes opaque" in capsys.readouterr().err
    assert told == is_told


def test_an_exact_rate_makes_a_variable_one_even(folder: Path):
    make_variable_rate(folder / "in.mp4")
    made = upscale("in.mp4", "out.mp4", "--scale", "1", "--fps", "60000/1001")
    assert not made.is_variable
    assert made.frame_rate == Fraction(60000, 1001)


def test_ten_bits_stay_ten_bits(folder: Path):
    make_video(
        folder / "in.mkv", pixel_format="yuv420p10le", encoder=("-c:v", "ffv1"), num_frames=3
    )
    made = upscale("in.mkv", "out.mp4", "--scale", "2")
    assert (made.bit_depth, made.width, made.height) == (10, 128, 96)


def test_every_stream_comes_along(folder: Path):
    make_rich(folder / "in.mkv")
    made = upscale("in.mkv", "out.mkv", "--scale", "1")
    kinds = [stream.kind for stream in made.streams]
    assert [kinds.count(kind) for kind in ("audio", "subtitle", "attachment")] == [2, 2, 1]
    assert (made.num_chapters, made.tags["title"]) == (2, "rich")


def test_what_the_container_refuses_is_said(folder: Path, capsys: pytest.CaptureFixture[str]):
    make_rich(folder / "in.mkv")
    upscale("in.mkv", "out.mp4", "--scale", "1")
    warned = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert any("attachment" in line and ".mkv" in line for line in warned)


def test_odd_sides_are_padded_and_that_is_said(folder: Path, capsys: pytest.CaptureFixture[str]):
    make_video(
        folder / "in.webm", filters="scale=43:25", num_frames=2, encoder=("-c:v", "libvpx-vp9")
    )
    made = upscale("in.webm", "out.mp4", "--scale", "1")
    assert (made.width, made.height) == (44, 26)
    assert "warning: 43x25 padded to 44x26" in capsys.readouterr().err
    made = upscale("in.webm", "out.webm", "--scale", "1", "--overwrite")
    assert (made.width, made.height) == (43, 25)


def test_a_single_frame_is_a_video(folder: Path):
    make_video(folder / "in.mp4", num_frames=1)
    made = upscale("in.mp4", "out.mp4", "--scale", "2", "--fps-x", "3")
    assert (made.width, made.num_frames) == (128, 3)


def test_a_gif_keeps_its_pauses(folder: Path):
    make_gif(folder / "in.gif")
    upscale("in.gif", "out.gif", "--scale", "2")
    assert [frame.time for frame in frames("out.gif")] == [frame.time for frame in frames("in.gif")]


def test_interlaced_video_comes_out_progressive(folder: Path, capsys: pytest.CaptureFixture[str]):
    make_interlaced(folder / "in.mp4", size=(180, 144))
    made = upscale("in.mp4", "out.mp4", "--size", "180x144", "--duration", "0.08")
    assert "warning: the input is interlaced: each frame's two fields" in capsys.readouterr().err
    assert made.interlaced == "progressive"
    assert made.num_frames == 2


def test_pictures_in_and_out(folder: Path):
    make_png_folder(folder / "pictures", num_images=3)
    assert main(["upscale", "pictures", "large", "--scale", "2", "--fps-x", "2"]) == 0
    made = probe(folder / "large")
    assert (made.width, made.height, len(made.images)) == (48, 32, 6)
    means = [frame.image.mean() for frame in frames("large")]
    assert means[0] == pytest.approx(0, abs=3)
    assert means[-1] == pytest.approx(20, abs=3)


@pytest.mark.parametrize(("output", "named"), [("out", "out/%05d.png"), ("o_%d.png", "o_%d.png")])
def test_who_forgot_the_ending_learns_at_once_that_pictures_are_made(
    folder: Path, output: str, named: str, capsys: pytest.CaptureFixture[str]
):
    make_video(folder / "in.mp4", num_frames=2)
    upscale("in.mp4", output, "--scale", "1")
    note, plan = "the output is pictures: `" + named + "`\n", "nano on cpu"
    said = capsys.readouterr().err
    assert said.index(note) < said.index(plan)


def test_a_file_that_ends_early_is_finished_with_a_warning(
    folder: Path, capsys: pytest.CaptureFixture[str]
):
    make_truncated(folder / "in.mp4")
    made = upscale("in.mp4", "out.mp4", "--scale", "1")
    assert made.num_frames is not None
    assert 5 < made.num_frames < 50
    assert any(line.startswith("warning: ") for line in capsys.readouterr().err.splitlines())


def test_a_variable_rate_that_ends_early_does_not_hold_its_last_picture(folder: Path):
    ticks = [40 * n + 20 * (n % 3 == 0) for n in range(48)]
    make_variable_rate(folder / "whole.mp4", ticks)
    run_ffmpeg("-i", "whole.mp4", "-c", "copy", "-movflags", "+faststart", "fast.mp4")
    whole = (folder / "fast.mp4").read_bytes()
    (folder / "in.mp4").write_bytes(whole[: len(whole) * 6 // 10])
    given = frames("in.mp4")
    assert probe(folder / "in.mp4").is_variable
    assert 5 < len(given) < 45
    made = frames(upscale("in.mp4", "out.mp4", "--scale", "1", "--fps", "50").path)
    lasts = given[-1].time - given[0].time
    assert lasts <= made[-1].time - made[0].time <= lasts + Fraction(1, 20)


def test_a_batch_makes_a_folder(folder: Path):
    (folder / "in").mkdir()
    make_video(folder / "in" / "a.mp4", num_frames=2)
    (folder / "in" / "bad.mp4").write_text("no video", encoding="utf-8")
    assert main(["batch", "in", "out", "--scale", "1"]) == 1
    assert names(folder / "out") == {"a.mp4"}
    assert main(["batch", "in", "out", "--scale", "1", "--glob", "a*"]) == 0
