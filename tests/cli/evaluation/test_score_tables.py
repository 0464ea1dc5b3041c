import csv
import io
import json
import math
from dataclasses import replace

import pytest

from diffst_cli.evaluation.score_tables import (
    clip_table,
    gain_table,
    summary_table,
    to_csv,
    to_json,
)
from diffst_cli.evaluation.scores import columns_of, summarise, summarise_gains
from tests.cli.evaluation.test_scores import score

SCORES = [
    score("nano", 30, 20, 34, clip="a"),
    score("ffmpeg", 29, 22, 31, clip="a"),
    score("nano", 32, 22, 36, clip="b"),
    score("ffmpeg", 29, 21, 31, clip="b"),
]


def cells(table: str, line: int) -> list[str]:
    """The cells of one line; 0 is the heading, 2 the first line of values."""
    return [cell.strip() for cell in table.splitlines()[line].strip("|").split("|")]


def test_each_clip_has_its_line():
    table = clip_table(SCORES)
    assert cells(table, 0)[:5] == ["track", "clip", "system", "PSNR-Y kept", "PSNR-Y new"]
    assert cells(table, 2)[:5] == ["web", "a", "nano", "32.00", "20.00"]
    assert len(table.splitlines()) == 2 + len(SCORES)


def test_every_line_of_a_table_is_as_wide():
    assert len({len(line) for line in clip_table(SCORES).splitlines()}) == 1


def test_means_carry_their_interval():
    table = summary_table(summarise(SCORES))
    # kept frames of nano: 32 and 34, standard error 1, t(97.5 %, 1) = 12.706
    assert cells(table, 2)[:3] == ["web", "nano", "33.00 ± 12.71"]
    assert cells(table, 3)[:3] == ["web", "ffmpeg", "30.00 ± 0.00"]


def test_a_single_clip_shows_its_mean_alone():
    assert cells(summary_table(summarise(SCORES[:1])), 2)[2] == "32.00"


def test_gains_show_their_sign_and_the_worst_clip():
    gains = summarise_gains(SCORES, "nano")
    row = dict(zip(cells(gain_table(gains), 0), cells(gain_table(gains), 2), strict=True))
    assert row["system"] == "nano - ffmpeg"
    assert row["PSNR-Y kept"] == "+3.00 ± 12.71 [+2.00]"
    assert row["PSNR-Y new"] == "-0.50 ± 19.06 [-2.00]"


def test_the_worst_error_is_the_largest():
    higher = score("nano", 1, 1, 1, 1, clip="b")  # frame differences 0, 1, 2 instead of 0, 1
    scores = [*SCORES[:2], higher, score("ffmpeg", 1, 1, 1, clip="b")]
    gains = summarise_gains(scores, "nano")
    row = dict(zip(cells(gain_table(gains), 0), cells(gain_table(gains), 2), strict=True))
    assert row["frame diff."].endswith("[+0.500]")


def test_what_was_not_measured_is_a_dash_and_empty_in_files():
    scores = [replace(one, frames_per_second=math.nan) for one in SCORES[:3]]
    means = summarise(scores)
    for table in (clip_table(scores), summary_table(means)):
        row = dict(zip(cells(table, 0), cells(table, 2), strict=True))
        assert row["frames/s"] == "-"
        assert "1.50" in row["peak GB"]
    rows = list(csv.DictReader(io.StringIO(to_csv(scores))))
    assert [row["frames_per_second"] for row in rows] == ["", "", ""]
    data = json.loads(to_json(scores, means, {}), parse_constant=lambda name: pytest.fail(name))
    assert data["clips"][0]["frames_per_second"] is None
    assert data["means"][0]["frames_per_second"] == {"mean": None, "half_width": None}


def test_speed_and_memory_are_no_gains():
    titles = cells(gain_table(summarise_gains(SCORES, "nano")), 0)
    assert titles[-1] == "true warping"


def test_csv_has_every_clip_with_all_digits():
    rows = list(csv.DictReader(io.StringIO(to_csv(SCORES))))
    assert len(rows) == 4
    assert rows[0]["clip"] == "a"
    assert rows[0]["num_frames"] == "3"
    assert float(rows[0]["psnr"]) == 28.0
    assert set(rows[0]) == {"track", "clip", "system", "num_frames"} | {
        c.key for c in columns_of(SCORES)
    }


def test_json_has_every_frame_and_the_means():
    data = json.loads(to_json(SCORES, summarise(SCORES), {"crf": 16}))
    assert list(data) == ["crf", "clips", "means"]
    assert data["clips"][0]["psnr_y"] == [30, 20, 34]
    assert data["means"][0]["psnr_kept"]["mean"] == 33.0


def test_json_says_null_where_one_clip_gives_no_interval():
    data = json.loads(to_json(SCORES[:1], summarise(SCORES[:1]), {}))
    assert data["means"][0]["psnr_kept"] == {"mean": 32.0, "half_width": None}


def test_a_metric_that_is_not_defined_is_null_for_each_frame():
    scores = [replace(SCORES[0], series={"ms_ssim": (math.nan,) * 3})]
    data = json.loads(
        to_json(scores, summarise(scores), {}), parse_constant=lambda name: pytest.fail(name)
    )
    assert data["clips"][0]["ms_ssim"] == [None, None, None]
    assert cells(clip_table(scores), 2)[3:5] == ["-", "-"]


def test_a_name_of_signs_is_one_cell():
    table = clip_table([score("nano", 30, 20, 34, clip="a|b\nc")])
    assert len(table.splitlines()) == 3
    assert "| a\\|b c |" in table
