"""Timecode: the same moment of the day in a part, and at another rate."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from diffst_cli.probe import probe
from diffst_cli.timecode import find_timecode, move_timecode
from diffst_cli.writer import Output
from tests.outputs import copy_video, job_for, make_clip

F = Fraction
NTSC, TWICE = F(30000, 1001), F(60000, 1001)


@pytest.mark.parametrize(
    ("label", "rate", "skipped", "new_rate", "wanted"),
    [
        ("01:00:00:00", F(25), F(0), F(25), "01:00:00:00"),
        ("01:00:00:12", F(25), F(0), F(50), "01:00:00:24"),
        ("10:59:59:24", F(25), F(1, 25), F(25), "11:00:00:00"),
        ("23:59:59:24", F(25), F(2, 25), F(25), "00:00:00:01"),
        ("01:00:00:00", F(24000, 1001), F(0), F(48000, 1001), "01:00:00:00"),
        ("01:00:00:00", F(24), F(5, 2), F(60), "01:00:02:30"),
        ("00:00:59:29", NTSC, F(1001, 30000), NTSC, "00:01:00:00"),
        # Labels 00 and 01 (at 60: 00 to 03) are left out each minute but every tenth.
        ("00:00:59;29", NTSC, F(1001, 30000), NTSC, "00:01:00;02"),
        ("00:09:59;29", NTSC, F(1001, 30000), NTSC, "00:10:00;00"),
        ("00:00:59;29", NTSC, F(1001, 30000), TWICE, "00:01:00;04"),
        ("01:00:00;00", NTSC, F(0), TWICE, "01:00:00;00"),
        ("12:34:56;07", NTSC, F(0), TWICE, "12:34:56;14"),
        ("00:01:00;02", NTSC, F(0), F(25), "00:01:00:02"),
        ("00:00:00:00", F(25), F(0), F(1000), None),
        ("a clap", F(25), F(0), F(25), None),
    ],
)
def test_the_label_is_that_of_the_same_moment(
    label: str, rate: Fraction, skipped: Fraction, new_rate: Fraction, wanted: str | None
) -> None:
    assert move_timecode(label, rate, skipped, new_rate) == wanted


def test_drop_frame_labels_count_every_frame_of_a_day_once() -> None:
    seen = {move_timecode("00:00:00;00", NTSC, n / NTSC, NTSC) for n in range(0, 2589408, 97)}
    assert len(seen) == len(range(0, 2589408, 97))
    assert move_timecode("00:00:00;00", NTSC, 2589407 / NTSC, NTSC) == "23:59:59;29"
    assert move_timecode("00:00:00;00", NTSC, 2589408 / NTSC, NTSC) == "00:00:00;00"


@pytest.mark.parametrize("source", ["source.mov", "source.mxf", "source.mkv"])
@pytest.mark.parametrize("suffix", [".mov", ".mp4", ".mkv"])
def test_files_keep_it(source: str, suffix: str, tmp_path: Path) -> None:
    clip = make_clip(
        tmp_path / source, "-c:v", "mpeg2video", "-timecode", "10:00:00:05", size="320x240"
    )
    assert find_timecode(probe(clip).tags) == "10:00:00:05"
    whole = copy_video(clip, tmp_path / f"whole{suffix}")
    assert find_timecode(probe(whole.output).tags) == "10:00:00:05"
    assert whole.notes == ()
    part = copy_video(clip, tmp_path / f"part{suffix}", start=F(1, 5))
    assert find_timecode(probe(part.output).tags) == "10:00:00:10"


def test_where_it_has_no_place_it_is_named(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "source.mov", "-timecode", "10:00:00:05")
    (note,) = copy_video(clip, tmp_path / "out.avi").notes
    assert note == "tags left out: AVI cannot hold `timecode`; use a `.mkv` output to keep them"


def test_where_no_label_counts_the_frames_that_is_told(tmp_path: Path) -> None:
    vary = ["-vf", "settb=1/1000,setpts=eq(N\\,1)*40+eq(N\\,2)*500", "-enc_time_base", "1:1000"]
    clip = make_clip(tmp_path / "source.mov", *vary, "-timecode", "10:00:00:05", num_frames=3)
    receipt = copy_video(clip, tmp_path / "out.mkv")
    assert find_timecode(probe(receipt.output).tags) is None
    assert receipt.notes == (
        "`timecode` left out: it labels frames of a constant rate, 1 to 240 a second, as HH:MM:SS:FF",
    )


def test_with_chapters_both_are_kept(tmp_path: Path) -> None:
    words = tmp_path / "chapters.txt"
    chapter = "[CHAPTER]\nTIMEBASE=1/1000\nSTART={}\nEND={}\ntitle={}\n"
    words.write_text(";FFMETADATA1\n" + chapter.format(0, 200, "a") + chapter.format(200, 400, "b"))
    clip = make_clip(
        tmp_path / "source.mov", "-f", "ffmetadata", "-i", str(words), "-map_chapters", "1",
        "-timecode", "10:00:00:05",
    )  # fmt: skip
    receipt = copy_video(clip, tmp_path / "out.mov")
    assert receipt.notes == ()
    assert probe(receipt.output).num_chapters == 2
    assert find_timecode(probe(receipt.output).tags) == "10:00:00:05"


def test_a_label_is_of_the_first_picture_also_where_sound_begins_before_it(tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "in.mkv"))
    info = replace(
        info,
        tags={**info.tags, "timecode": "01:00:00:00"},
        origin_seconds=info.start_seconds - 1,
        is_variable=False,
    )
    output = Output(job_for(info, tmp_path / "out.mov"), info)
    assert output._timecode(info.start_seconds) == "01:00:00:00"
    assert output._timecode(info.start_seconds + 2) == "01:00:02:00"


def test_where_the_rate_varies_no_label_is_moved_by_its_mean(tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "in.mkv"))
    info = replace(info, tags={**info.tags, "timecode": "01:00:00:00"}, is_variable=True)
    output = Output(job_for(info, tmp_path / "out.mov"), info)
    assert output._timecode(info.start_seconds) is None
