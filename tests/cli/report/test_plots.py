import re
from xml.etree import ElementTree

import pytest

from diffst_cli.report.plots import METRICS, Plot, draw, thin

PSNR, SSIM, FLICKER = METRICS


def points(svg: str) -> list[list[tuple[float, float]]]:
    found = re.findall(r'points="([^"]*)"', svg)
    return [
        [(float(x), float(y)) for x, y in (pair.split(",") for pair in line.split())]
        for line in found
    ]


def test_lines_go_from_corner_to_corner():
    plot = Plot(metric=PSNR, times=[2.0, 3.0, 4.0], lines=[[20, 30, 40], [40, 20, 20]], end=6.0)
    assert plot.bounds == (20, 40)
    svg = draw(plot, cuts=[3.0], moments=[4.0])
    assert points(svg) == [[(0, 114), (250, 60), (500, 6)], [(0, 6), (250, 114), (500, 114)]]
    root = ElementTree.fromstring(svg)
    assert [(child.get("class"), child.get("d")) for child in root][:2] == [
        ("cut", "M250.0 0V120"),
        ("mark", "M500.0 0V120"),
    ]
    assert [child.get("class") for child in root][2:] == ["line line-1", "line line-2"]
    assert root.get("aria-label") == "PSNR over time, axis from 20 to 40"


@pytest.mark.parametrize(
    ("metric", "values", "bounds"),
    [
        (PSNR, [30, 31], (28.5, 32.5)),
        (PSNR, [100, 100], (56, 60)),
        (SSIM, [1, 0.999], (0.95, 1)),
        (SSIM, [0.2, 0.9], (0.2, 0.9)),
        (FLICKER, [0, 0.2], (0, 1)),
        (FLICKER, [4, 8], (4, 8)),
    ],
)
def test_small_changes_do_not_look_large(metric, values, bounds):
    plot = Plot(metric=metric, times=[0.0, 1.0], lines=[values], end=2.0)
    assert plot.bounds == pytest.approx(bounds)


def test_long_lines_keep_their_extremes():
    values = [0.5] * 10_000
    values[1234], values[8765] = 0.1, 0.9
    kept = thin([float(index) for index in range(10_000)], values)
    assert len(kept) <= 500
    assert {(1234.0, 0.1), (8765.0, 0.9)} <= set(kept)
    assert kept == sorted(kept)
    assert thin([0.0, 1.0], [1.0, 2.0]) == [(0.0, 1.0), (1.0, 2.0)]
