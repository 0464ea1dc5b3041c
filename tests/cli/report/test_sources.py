from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from diffst_cli.errors import UsageError, UserError
from diffst_cli.probe import probe
from diffst_cli.report.sources import (
    Part,
    Showing,
    Source,
    common_size,
    open_sources,
    timed_frames,
)
from tests.media import BT709_TAGS, make_variable_rate, make_video


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """8 frames at 10 fps, 32x24."""
    return make_video(tmp_path / "slow.mp4", size=(32, 24), num_frames=8, rate="10")


@pytest.fixture
def fast(tmp_path: Path) -> Path:
    """16 frames at 20 fps, 64x48."""
    return make_video(tmp_path / "fast.mp4", num_frames=16, rate="20")


def test_all_are_brought_to_the_largest_size(slow: Path, fast: Path):
    sources = open_sources([slow, fast])
    assert [source.label for source in sources] == ["slow.mp4", "fast.mp4"]
    assert common_size(sources, 1920) == (64, 48)
    assert common_size(sources, 40) == (40, 30)


def test_wide_pixels_count_as_shown(tmp_path: Path):
    wide = make_video(tmp_path / "wide.mp4", filters=f"{BT709_TAGS},setsar=2")
    assert common_size(open_sources([wide]), 1920) == (128, 48)


def test_files_of_one_name_are_told_apart_by_their_folders(slow: Path, tmp_path: Path):
    folder = tmp_path / "other"
    folder.mkdir()
    same = make_video(folder / "slow.mp4", size=(32, 24), num_frames=2)
    assert [source.label for source in open_sources([slow, same])] == [str(slow), str(same)]


def test_a_video_of_another_shape_is_refused(slow: Path, tmp_path: Path):
    tall = make_video(tmp_path / "tall.mp4", size=(48, 64), num_frames=2)
    with pytest.raises(UserError, match=r"48x64 and .* 32x24: not one picture"):
        open_sources([slow, tall])


def test_a_link_that_leads_to_itself_is_no_file(slow: Path, tmp_path: Path):
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    with pytest.raises(UserError, match=r"no such file: `.*loop.mp4`"):
        open_sources([slow, tmp_path / "loop.mp4"])


def test_one_video_given_twice_is_refused(slow: Path):
    with pytest.raises(UsageError, match="given twice"):
        open_sources([slow, slow.parent / "." / slow.name])


def test_a_viewer_sees_the_newest_frame_that_has_begun(slow: Path, fast: Path):
    seen: list[list[Fraction]] = []
    slow_source, fast_source = open_sources([slow, fast])
    with Showing(slow_source, Part(), (64, 48)) as a, Showing(fast_source, Part(), (64, 48)) as b:
        for number in (0, 1, 2, 3, 7):
            moment = Fraction(number, 20)
            assert a.move_to(moment)
            assert b.move_to(moment)
            seen.append([a.frame.time, b.frame.time])
            assert a.picture().shape == b.picture().shape == (48, 64, 3)
        assert not a.move_to(Fraction(8, 10))
        assert a.end == Fraction(8, 10)
    twentieths = [[int(time * 20) for time in pair] for pair in seen]
    assert twentieths == [[0, 0], [0, 1], [2, 2], [2, 3], [6, 7]]


def test_a_frame_counts_as_shown_a_little_early(slow: Path):
    (source,) = open_sources([slow])
    with Showing(source, Part(), (32, 24)) as video:
        video.move_to(Fraction(2, 10) - Fraction(1, 1000))
        assert video.frame.time == Fraction(2, 10)
        video.move_to(Fraction(27, 100))
        assert video.frame.time == Fraction(2, 10)


def test_a_part_begins_with_the_frame_that_is_shown_there(slow: Path, tmp_path: Path):
    (source,) = open_sources([slow])
    times = [frame.time for frame in timed_frames(source, Fraction(35, 100), Fraction(6, 10))]
    assert times == [Fraction(3, 10), Fraction(4, 10), Fraction(5, 10)]
    for start in (Fraction(3, 10), Fraction(299, 1000)):  # on a frame, and a rounding before it
        times = [frame.time for frame in timed_frames(source, start, Fraction(5, 10))]
        assert times == [Fraction(3, 10), Fraction(4, 10)]
    held = make_variable_rate(tmp_path / "held.mp4", ticks=(0, 40, 3000, 3040, 3080))
    (source,) = open_sources([held])
    begin = next(timed_frames(source, Fraction(29, 10), Fraction(3)))
    assert begin.time == Fraction(4, 100)


def test_a_part_after_the_end_is_an_error(slow: Path):
    (source,) = open_sources([slow])
    with pytest.raises(UserError, match="no frame in the chosen part"):
        next(timed_frames(source, Fraction(30), Fraction(40)))


def test_times_are_counted_from_the_files_beginning_which_sound_may_be(slow: Path):
    info = replace(probe(slow), origin_seconds=Fraction(-1))
    shown = list(timed_frames(Source(info=info, label=""), Fraction(0), None))
    assert [frame.time for frame in shown] == [1 + Fraction(n, 10) for n in range(8)]
