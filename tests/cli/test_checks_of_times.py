"""How far a finished file may be from its promise in time; the file's packets are only told here."""

from array import array
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest

from diffst_cli import checks
from diffst_cli.checks import Packets, Promise, check_offsets, check_times
from diffst_cli.streams import CONTAINERS

SOUND = SimpleNamespace(index=1, kind="audio", start_seconds=Fraction(1))


def promise(**changes: Any) -> Promise:
    """Ten frames at 25 fps, and a sound that is copied."""
    plan: Any = SimpleNamespace(
        container=CONTAINERS[".mkv"], kept=(SimpleNamespace(source=SOUND, encoder="copy"),)
    )
    info: Any = SimpleNamespace(path="in")
    usual = Promise(
        info=info,
        encoding=None,  # type: ignore[arg-type]  # of no account here
        plan=plan,
        times=array("d", (n / 25 for n in range(10))),
        last_seconds=1 / 25,
        frame_rate=Fraction(25),
        constant_rate=True,
        first_time=Fraction(1),
        trimmed=False,
        shortened=False,
    )
    return replace(usual, **changes)


def packets(end: float = 0.4) -> Packets:
    times = array("d", (n / 25 for n in range(10)))
    return Packets(video_times=times, video_end=end, first_times={})


@pytest.mark.parametrize(
    ("constant_rate", "late", "is_ok"),
    [(True, 0.04, True), (True, 0.05, False), (False, 0.08, True), (False, 0.09, False)],
)
def test_a_frame_may_be_lacking_or_two_at_a_variable_rate(
    constant_rate: bool, late: float, is_ok: bool
) -> None:
    for end in (0.4 + late, 0.4 - late):
        found = check_times(promise(constant_rate=constant_rate), packets(end))
        assert [check.ok for check in found if check.name == "duration"] == [is_ok]


@pytest.mark.parametrize(
    ("trimmed", "before", "after", "is_ok"),
    [
        (False, 1.0, 0.0, True),
        (False, 0.8, -0.2, True),  # heard before the first picture
        (False, 0.8, 0.0, False),
        (False, 1.0, 0.05, False),
        (True, 0.8, 0.0, True),  # what was heard before is cut off
        (True, 1.0, 0.19, True),  # up to the next whole packet
        (True, 1.5, 0.31, False),  # but never early
        (True, 1.0, 0.21, False),
    ],
)
def test_sound_is_where_it_was_but_for_a_packet_after_a_cut(
    trimmed: bool, before: float, after: float, is_ok: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = {"in": {1: before}, "out": {1: after}}
    monkeypatch.setattr(checks, "first_sounds", lambda path, _wanted: heard[path])
    actual: Any = SimpleNamespace(path="out", streams=(SOUND,))
    (check,) = check_offsets(promise(trimmed=trimmed), actual, packets())
    assert check.ok == is_ok


@pytest.mark.parametrize(
    ("container", "late", "is_ok"),
    [(".mkv", 1.4, True), (".mkv", 1.6, False), (".mp4", 0.2, False)],
)
def test_each_frame_is_at_its_time_but_for_what_the_container_rounds(
    container: str, late: float, is_ok: bool
) -> None:
    kept = packets()
    times = array(
        "d", (time + (late / 1000 if n == 7 else 0) for n, time in enumerate(kept.video_times))
    )
    plan: Any = SimpleNamespace(container=CONTAINERS[container], kept=())
    found = check_times(promise(plan=plan), replace(kept, video_times=times))
    assert [check.ok for check in found if check.name == "frame rate"] == [is_ok]
