"""What the first packets of a file tell of its frames' times."""

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from diffst_cli import packet_scan
from diffst_cli.packet_scan import Scan, holds_last, is_uneven, scan_packets, true_steps
from diffst_cli.probe import probe
from diffst_cli.probe_file import open_container
from tests.media import BT709_TAGS, FAST_X264, make_video
from tests.outputs import make_clip

IN_GROUPS = ("-bf", "3", "-x264-params", "b-adapt=0:b-pyramid=none")  # P B B B, as they are stored


@pytest.mark.parametrize("num_scanned", [41, 42, 43, 44])  # of I, ten groups, and what follows
def test_frames_that_are_stored_after_the_last_one_scanned_leave_no_gap(
    num_scanned: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(packet_scan, "SCANNED_PACKETS", num_scanned)
    path = make_video(
        tmp_path / "b.mp4", num_frames=60, filters=BT709_TAGS, encoder=(*FAST_X264, *IN_GROUPS)
    )
    with open_container(path) as container:
        scan = scan_packets(container, container.streams.video[0])
    assert (scan.num_packets, scan.complete) == (num_scanned, False)
    assert len(scan.times) > 20
    assert set(true_steps(scan.times, 3600)) == {Fraction(1, 25)}


@pytest.mark.parametrize(
    ("step", "longest", "is_held"),
    [
        (Fraction(1, 10), Fraction(4, 10), False),  # four steps, but less than half a second
        (Fraction(3, 10), Fraction(6, 10), False),  # over half a second, but two steps
        (Fraction(1, 10), Fraction(6, 10), True),
    ],
)
def test_a_last_picture_is_held_if_it_stays_for_many_steps_and_for_long(
    step: Fraction, longest: Fraction, is_held: bool
):
    scan = Scan(
        frame=None,
        times=tuple(n * step for n in range(10)),
        num_packets=10,
        num_unstamped=0,
        last_duration=longest,
        longest_duration=longest,
        complete=True,
    )
    assert holds_last(scan) is is_held


def test_the_longest_packet_is_that_of_the_last_picture_whichever_says_so():
    scan = Scan(
        frame=None,
        times=tuple(n * Fraction(1, 25) for n in range(10)),
        num_packets=10,
        num_unstamped=0,
        last_duration=Fraction(1, 25),
        longest_duration=Fraction(2),
        complete=True,
    )
    assert holds_last(scan)


def test_steps_may_differ_by_what_rounding_makes_of_them():
    tick = Fraction(1, 1000)
    assert not is_uneven([41 * tick, 43 * tick, 42 * tick], tick)
    assert is_uneven([41 * tick, 44 * tick, 42 * tick], tick)
    assert not is_uneven([41 * tick], tick)


def scan_of(stamps: list[dict[str, int | None]], num_promised: int) -> Scan:
    """Of a file of such packets, of which its header promises so many."""
    stream: Any = SimpleNamespace(
        decode=lambda _packet: [], frames=num_promised, time_base=Fraction(1, 25)
    )
    common = {"size": 1, "is_discard": False, "duration": 1}
    packets = [SimpleNamespace(**common, **stamp) for stamp in stamps]
    container: Any = SimpleNamespace(demux=lambda _stream: iter(packets))
    return scan_packets(container, stream)


@pytest.mark.parametrize(("num_promised", "num_judged"), [(0, 40), (40, 40), (41, 24)])
def test_of_a_file_that_ends_early_the_last_frames_are_not_judged(
    num_promised: int, num_judged: int
):
    scan = scan_of([{"pts": n, "dts": n} for n in range(40)], num_promised)
    assert scan.times == tuple(Fraction(n, 25) for n in range(num_judged))


def test_where_no_packet_says_when_it_is_shown_the_order_of_decoding_counts():
    scan = scan_of([{"pts": None, "dts": n} for n in range(4)], 4)
    assert scan.times == tuple(Fraction(n, 25) for n in range(4))
    assert scan.num_unstamped == 0


@pytest.mark.parametrize(("delay", "is_variable"), [("-1", False), ("200", True)])
def test_a_file_whose_last_picture_is_held_is_of_a_variable_rate(
    delay: str, is_variable: bool, tmp_path: Path
):
    clip = make_clip(tmp_path / "a.gif", "-final_delay", delay, num_frames=5)
    assert probe(clip).is_variable is is_variable
