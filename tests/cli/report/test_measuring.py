from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from diffst_cli.report import measuring
from diffst_cli.report.measuring import Measurements, luma, measure, measuring_stride
from diffst_cli.report.sources import Part, open_sources
from tests.media import BT709_TAGS, LOSSLESS, make_flat, make_video

GREY = (126, 128, 128)  # 128 of 255 in full range: (126 - 16) * 255 / 219 = 128.08
LIGHTER = (138, 128, 128)  # 142.05


def ticks(info_times: list[Fraction]) -> list[int]:
    return [round(time * 1000) for time in info_times]


def compare(
    *paths: Path, part: Part | None = None, size: tuple[int, int] = (16, 16)
) -> Measurements:
    return measure(open_sources(paths), part or Part(), size, lambda _: None)


def test_luma_has_the_weights_of_bt709():
    picture = np.zeros((2, 2, 3), np.uint8)
    picture[0, 0], picture[0, 1], picture[1, 0] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    assert luma(picture).tolist() == [[[63, 173], [32, 16]]]


def test_figures_of_flat_videos_are_those_of_the_formulas(tmp_path: Path):
    base = make_flat(tmp_path / "base.mkv", [GREY] * 4)
    other = make_flat(tmp_path / "other.mkv", [GREY, LIGHTER, LIGHTER, GREY])
    found = compare(base, other)
    (series,) = found.series
    peak = 20 * np.log10(255 / 12)  # of R'G'B' 128 and 142
    assert series.psnr == pytest.approx([100, peak, peak, 100])
    assert series.flicker == pytest.approx([0, 12, 0, 12])
    c1 = (0.01 * 255) ** 2
    flat = (2 * 126 * 138 + c1) / (126**2 + 138**2 + c1)
    assert series.ssim == pytest.approx([1, flat, flat, 1], abs=1e-4)
    assert found.num_frames == len(found.times) == 4


def test_frames_are_matched_by_time_whatever_the_rate_and_the_size(tmp_path: Path):
    lively = f"{BT709_TAGS},noise=alls=40:allf=t"
    fast, slow = (
        make_video(tmp_path / name, num_frames=12, rate="20", filters=filters, encoder=LOSSLESS)
        for name, filters in (("fast.mkv", lively), ("slow.mkv", f"{lively},framestep=2"))
    )
    seen: list[int] = []
    found = measure(open_sources([slow, fast]), Part(), (64, 48), seen.append)
    assert ticks(found.times) == [0, 100, 200, 300, 400, 500]
    assert found.end == Fraction(6, 10)
    assert seen == [1, 2, 3, 4, 5, 6]
    found = compare(fast, slow, size=(64, 48))
    assert ticks(found.times) == list(range(0, 600, 50))
    (series,) = found.series
    assert series.psnr[::2] == [100] * 6
    assert max(series.psnr[1::2]) < 40  # between its frames the slow one is late


def test_the_shortest_video_ends_the_comparison(tmp_path: Path):
    long = make_video(tmp_path / "long.mkv", num_frames=10)
    short = make_video(tmp_path / "short.mkv", num_frames=6)
    for pair in ((long, short), (short, long)):
        found = compare(*pair, size=(64, 48))
        assert (found.num_frames, found.end) == (6, Fraction(6, 25))


def test_only_the_part_asked_for_is_measured(tmp_path: Path):
    one = make_video(tmp_path / "one.mkv", num_frames=20)
    two = make_video(tmp_path / "two.mkv", num_frames=20)
    part = Part(start=Fraction(2, 10), duration=Fraction(2, 10))
    found = compare(one, two, part=part, size=(64, 48))
    assert ticks(found.times) == [200, 240, 280, 320, 360]
    assert found.end == Fraction(4, 10)


def test_a_long_video_is_measured_at_even_distances_with_the_change_since_the_frame_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    one = make_video(tmp_path / "one.mkv", num_frames=20)
    two = make_video(tmp_path / "two.mkv", size=(32, 24), num_frames=20)
    every = compare(one, two, size=(64, 48))
    monkeypatch.setattr(measuring, "MAX_MEASURED", 7)
    sources = open_sources([one, two])
    assert measuring_stride(sources[0], Part()) == 3
    assert measuring_stride(sources[0], Part(duration=Fraction(7, 25))) == 1
    found = compare(one, two, size=(64, 48))
    assert found.times == every.times[::3]
    assert found.num_frames == 20
    for name in ("psnr", "ssim", "flicker"):
        assert getattr(found.series[0], name) == getattr(every.series[0], name)[::3]


def test_cuts_of_the_first_video_are_found(tmp_path: Path):
    dark, light = [(30, 128, 128)] * 12, [(200, 128, 128)] * 12
    cut = make_flat(tmp_path / "cut.mkv", [*dark, *light])
    plain = make_flat(tmp_path / "plain.mkv", [*dark, *dark])
    assert ticks(compare(cut, plain).cuts) == [480]
    assert compare(plain, cut).cuts == []
