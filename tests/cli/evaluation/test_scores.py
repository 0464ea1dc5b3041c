import math
from dataclasses import replace

import pytest

from diffst_cli.evaluation.scores import (
    ClipScore,
    columns_of,
    confidence,
    student_quantile,
    summarise,
    summarise_gains,
    trim_to_common,
)


def score(system: str, *psnr_y: float, clip: str = "a", track: str = "web") -> ClipScore:
    """A clip whose other metrics follow from its PSNR: SSIM a hundredth, VMAF twice as much."""
    pairs = len(psnr_y) - 1
    return ClipScore(
        track=track,
        clip=clip,
        system=system,
        num_frames=len(psnr_y),
        series={
            "psnr_y": psnr_y,
            "ssim": tuple(value / 100 for value in psnr_y),
            "vmaf": tuple(value * 2 for value in psnr_y),
            "frame_difference": tuple(range(pairs)),
            "warping": (1.0,) * pairs,
            "true_warping": (0.5,) * pairs,
        },
        frames_per_second=4,
        cpu_seconds_per_frame=0.5,
        peak_bytes=1.5e9,
    )


def test_even_frames_are_kept_and_odd_ones_new():
    clip = score("nano", 30, 20, 34, 22, 38)
    values = {column.key: column.value(clip) for column in columns_of([clip])}
    assert values == pytest.approx(
        {
            "psnr_kept": 34,
            "psnr_new": 21,
            "psnr": 28.8,
            "ssim_kept": 0.34,
            "ssim_new": 0.21,
            "vmaf_kept": 68,
            "vmaf_new": 42,
            "vmaf": 57.6,
            "frame_difference_error": 1.5,
            "warping_error": 1.0,
            "true_warping_error": 0.5,
            "frames_per_second": 4,
            "cpu_seconds_per_frame": 0.5,
            "peak_gb": 1.5,
        }
    )


def test_only_what_was_measured_has_a_column():
    clip = replace(score("nano", 30, 20, 34), series={"lpips": (0.1, 0.2, 0.3), "tof": (4.0, 5.0)})
    values = {column.key: column.value(clip) for column in columns_of([clip])[:-3]}
    assert values == pytest.approx({"lpips_kept": 0.2, "lpips_new": 0.2, "tof": 4.5})


def test_a_metric_that_one_system_lacks_is_unknown_there():
    scores = [score("nano", 9, 9, 9), replace(score("ffmpeg", 9, 9, 9), series={"tof": (1.0, 2.0)})]
    means = {summary.system: summary for summary in summarise(scores)}
    (psnr,) = (i for i, c in enumerate(means["ffmpeg"].columns) if c.key == "psnr")
    assert math.isnan(means["ffmpeg"].intervals[psnr].mean)
    assert means["nano"].intervals[psnr].mean == 9


def test_the_interval_is_students_t():
    interval = confidence([1.0, 2.0, 3.0])
    # t(97.5 %, 2) = 4.303; the standard error of 1, 2, 3 is 1 / sqrt(3)
    assert interval.half_width == pytest.approx(4.303 / math.sqrt(3))
    assert (interval.mean, interval.lowest, interval.highest) == (2.0, 1.0, 3.0)


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(30, 2.0423), (31, 2.0395), (99, 1.9842), (10**6, 1.95997)]
)
def test_quantiles_of_many_clips_are_students_too(freedom: int, quantile: float):
    # Printed tables of Student's t at 97.5 %.
    assert student_quantile(freedom) == pytest.approx(quantile, abs=4e-4)
    values = [float(index % 2) for index in range(100)]
    expected = 1.9842 * math.sqrt(0.25 * 100 / 99) / 10
    assert confidence(values).half_width == pytest.approx(expected, rel=1e-4)


def test_one_clip_has_a_mean_but_no_interval():
    interval = confidence([3.5])
    assert interval.mean == 3.5
    assert math.isinf(interval.half_width)


def test_systems_are_compared_on_the_frames_both_have():
    longer, shorter = score("nano", 1, 2, 3, 4, 5), score("ffmpeg", 6, 7, 8)
    other = score("nano", 1, 2, 3, 4, 5, clip="b")
    trimmed = trim_to_common([longer, shorter, other])
    assert [s.num_frames for s in trimmed] == [3, 3, 5]
    assert trimmed[0] == score("nano", 1, 2, 3)


def test_means_are_over_clips_of_one_track_and_system():
    scores = [
        score("nano", 10, 10, 10, clip="a"),
        score("nano", 30, 30, 30, 30, 30, clip="b"),
        score("nano", 99, 99, 99, clip="a", track="old"),
    ]
    means = {(s.track, s.system): s.intervals[0].mean for s in summarise(scores)}
    assert means == {("web", "nano"): 20, ("old", "nano"): 99}


def test_the_system_is_held_against_each_other_one():
    scores = [score("nano", 9, 9, 9), score("a", 8, 8, 8), score("b", 10, 10, 10)]
    gains = {gain.system: gain.intervals[0].mean for gain in summarise_gains(scores, "nano")}
    assert gains == {"nano - a": 1, "nano - b": -1}


def test_gains_are_paired_by_clip():
    scores = [
        score("nano", 21, 11, 21, clip="a"),
        score("ffmpeg", 20, 10, 20, clip="a"),
        score("nano", 43, 43, 43, clip="b"),
        score("ffmpeg", 40, 40, 40, clip="b"),
    ]
    (gain,) = summarise_gains(scores, "nano")
    kept = gain.intervals[0]
    assert (gain.track, gain.system) == ("web", "nano - ffmpeg")
    assert (kept.mean, kept.lowest, kept.highest) == (2, 1, 3)
    assert kept.half_width == pytest.approx(12.706)  # t(97.5 %, 1) times a standard error of 1
