from pathlib import Path

import pytest

from diffst_cli.checks import read_packets, same
from diffst_cli.probe import probe
from tests.outputs import make_clip


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_packets_are_counted_and_timed(suffix: str, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / f"clip{suffix}", "-bf", "0")
    packets = read_packets(clip, probe(clip).stream_index)
    assert list(packets.video_times) == pytest.approx([n / 25 for n in range(10)])
    assert packets.video_end == pytest.approx(0.4)


def test_frames_out_of_order_in_the_file_are_put_in_order(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", "-bf", "3")
    assert list(read_packets(clip, 0).video_times) == pytest.approx([n / 25 for n in range(10)])


def test_equal_values_pass_and_others_fail() -> None:
    assert same("frames", 10, 10).ok
    assert not same("frames", 10, 9).ok
