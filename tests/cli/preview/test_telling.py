from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from diffst_cli.preview import telling
from diffst_cli.preview.features import Features
from diffst_cli.preview.telling import choose, cut_windows, find_telling, plan_parts
from diffst_cli.probe import probe
from tests.media import BT709_TAGS, make_video

USUAL = Features(
    time=Fraction(0),
    starts_shot=False,
    brightness=120.0,
    contrast=50.0,
    movement=3.0,
    detail=20.0,
    text=0.0,
)
RATE = 10


def frames(seconds: float, **changes: dict[int, object]) -> list[Features]:
    """Usual frames, with `changes` by feature and frame."""
    made = []
    for index in range(round(seconds * RATE)):
        values = {name: by_frame[index] for name, by_frame in changes.items() if index in by_frame}
        made.append(replace(USUAL, time=Fraction(index, RATE), **values))  # type: ignore[arg-type]
    return made


def second(number: float, value: object) -> dict[int, object]:
    first = round(number * RATE)
    return dict.fromkeys(range(first, first + RATE), value)


def reasons(seen: list[Features]) -> dict[str, float]:
    return {one.reason: float(one.start) for one in choose(cut_windows(seen, Fraction(1, RATE)))}


def test_each_kind_of_moment_is_found_where_it_is():
    seen = frames(
        30,
        starts_shot={55: True},
        movement=second(10, 30.0) | second(24, 0.5),
        text=second(13, 0.02),
        brightness=second(16, 20.0),
        detail=second(20, 60.0),
    )
    assert reasons(seen) == {
        "a cut": 5.0,
        "fast motion": 10.0,
        "text or hard edges": 13.0,
        "dark": pytest.approx(16.0, abs=0.3),
        "fine detail": 20.0,
        "hardly any motion": 24.0,
    }


def test_what_is_not_there_is_a_usual_moment():
    still = second(0, 0.0)
    blank = frames(1, movement=still, contrast=still, detail=second(0, 0.2))
    assert list(reasons(blank)) == ["a usual moment"]
    assert list(reasons(frames(0.1, movement=still))) == ["fine detail"]


def test_a_cut_is_shown_in_the_middle():
    found = reasons(frames(20, starts_shot={0: True, 87: True}))
    assert abs(found["a cut"] + 0.5 - 8.7) <= 0.15


def test_moments_do_not_overlap_and_are_in_order():
    moments = choose(cut_windows(frames(12), Fraction(1, RATE)))
    assert len(moments) >= 5
    assert min(later.start - one.start for one, later in pairwise(moments)) >= 1


def test_black_is_not_dark():
    seen = frames(20, brightness=second(4, 0.0) | second(9, 30.0), contrast=second(4, 0.0))
    assert reasons(seen)["dark"] == pytest.approx(9.0, abs=0.3)


def test_a_short_video_is_shown_whole():
    moments = choose(cut_windows(frames(3), Fraction(1, RATE)))
    assert [float(one.start) for one in moments] == [0, 1, 2]
    (only,) = choose(cut_windows(frames(0.4), Fraction(1, RATE)))
    assert only.start == 0


def test_windows_are_whole_seconds_and_those_of_a_short_video_lie_side_by_side():
    short = cut_windows(frames(5.7), Fraction(1, RATE))
    assert [window.start for window in short] == [0, 1, 2, 3, 4]
    long = cut_windows(frames(8), Fraction(1, RATE))
    assert [float(window.start) for window in long[:4]] == [0, 0.3, 0.5, 0.8]
    assert long[-1].start == 7
    assert {len(window.frames) for window in (*short, *long)} == {RATE}


def test_usual_moments_are_far_from_all_others():
    chosen = choose(cut_windows(frames(12), Fraction(1, RATE)))
    starts = [one.start for one in chosen]
    usual = [one.start for one in chosen if one.reason == "a usual moment"]
    assert len(usual) >= 3
    assert min(abs(one - other) for one in usual for other in starts if one != other) >= 2


def test_a_long_video_is_sampled_from_beginning_to_end(tmp_path: Path):
    info = probe(make_video(tmp_path / "clip.mp4"))
    assert plan_parts(info, None, None) == [(None, None)]
    long = replace(info, duration_seconds=Fraction(3600))
    parts = plan_parts(long, None, None)
    assert len(parts) == telling.NUM_SAMPLES
    assert [parts[0], parts[-1]] == [(Fraction(0), Fraction(2)), (Fraction(3598), Fraction(2))]
    inside = plan_parts(long, Fraction(100), Fraction(200))
    assert [inside[0][0], inside[-1][0]] == [Fraction(100), Fraction(298)]
    assert plan_parts(long, Fraction(100), Fraction(20)) == [(Fraction(100), Fraction(20))]
    assert plan_parts(replace(info, duration_seconds=None), None, None) == [(None, None)]
    hundred = replace(info, duration_seconds=Fraction(100))
    assert plan_parts(hundred, Fraction(50), None) == [(Fraction(50), None)]


def test_samples_of_a_long_video_are_read_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(telling, "WHOLE_SECONDS", 8)
    monkeypatch.setattr(telling, "NUM_SAMPLES", 3)
    dark = "eq=brightness=-0.5:enable='between(t,5,7)'"
    info = probe(
        make_video(tmp_path / "clip.mp4", num_frames=120, rate="10", filters=f"{dark},{BT709_TAGS}")
    )
    told: list[tuple[float, float]] = []
    moments = find_telling(info, None, None, lambda done, total: told.append((done, total)))
    assert {one.reason for one in moments} >= {"dark", "fast motion"}
    (found,) = (one for one in moments if one.reason == "dark")
    assert 5 <= found.start <= 6
    assert list(told[-1]) == pytest.approx([5.9, 6])
    for one in moments:
        assert any(start <= one.start <= start + 1 for start in (0, 5, 10))
