from fractions import Fraction
from itertools import pairwise

from diffst_cli.report.measuring import Measurements, Series
from diffst_cli.report.moments import Moment, Span, choose_spans, find_moments


def measured(*ssim: list[float], rate: int = 10) -> Measurements:
    """Videos whose PSNR and flicker never change."""
    length = len(ssim[0])
    series = tuple(
        Series(psnr=[30.0] * length, ssim=list(line), flicker=[0.0] * length) for line in ssim
    )
    times = [Fraction(index, rate) for index in range(length)]
    return Measurements(series=series, times=times, num_frames=length, end=Fraction(length, rate))


def test_the_worst_frame_by_each_metric_is_found():
    found = measured([0.9] * 100)
    found.series[0].ssim[40] = 0.5
    found.series[0].psnr[70] = 21.25
    found.series[0].flicker[20] = 9.0
    reasons = {moment.index: moment.reason for moment in find_moments(found, [""])}
    assert reasons[40] == "low SSIM, 0.500"
    assert reasons[70] == "low PSNR, 21.2 dB"
    assert reasons[20] == "flicker, 9.0"
    assert list(reasons) == sorted(reasons)


def test_moments_are_apart_and_one_is_usual():
    falling = [1 - index / 100 for index in range(100)]
    moments = find_moments(measured(falling), [""])
    assert len(moments) == 6
    times = sorted(moment.time for moment in moments)
    assert min(late - early for early, late in pairwise(times)) >= Fraction(1, 2)
    (usual,) = (moment for moment in moments if moment.reason == "a usual frame")
    assert abs(falling[usual.index] - 0.505) <= 0.05


def test_moments_of_a_short_video_may_be_nearer():
    falling = [1 - index / 20 for index in range(20)]
    moments = find_moments(measured(falling), [""])
    assert len(moments) == 6
    assert min(late.time - early.time for early, late in pairwise(moments)) == Fraction(1, 5)


def test_each_video_has_its_turn():
    first, second = [0.9] * 50, [0.9] * 50
    first[10], second[30] = 0.2, 0.8
    reasons = {m.index: m.reason for m in find_moments(measured(first, second), ["a", "b"])}
    assert reasons[10] == "a: low SSIM, 0.200"
    assert reasons[30] == "b: low SSIM, 0.800"


def test_a_single_frame_is_a_moment():
    (moment,) = find_moments(measured([0.9]), [""])
    assert (moment.index, float(moment.time)) == (0, 0)


def at(index: int) -> Moment:
    return Moment(index=index, time=Fraction(index, 10), reason="")


def numbers(spans: list[Span]) -> list[tuple[float, float, float]]:
    return [(float(span.start), float(span.stop), float(span.offset)) for span in spans]


def test_a_short_video_is_played_whole():
    found = measured([0.9] * 50)
    spans = choose_spans(found, [at(3)], Fraction(5))
    assert spans == [Span(start=Fraction(0), stop=Fraction(5), offset=Fraction(0))]


def test_of_a_long_video_what_is_around_each_moment_is_played():
    found = measured([0.9] * 1000)
    spans = choose_spans(found, [at(5), at(500), at(995)], Fraction(9))
    assert numbers(spans) == [
        (0, 2, 0),
        (48.5, 51.5, 2),
        (98, 100, 5),
    ]


def test_moments_that_are_near_share_a_span():
    found = measured([0.9] * 1000)
    spans = choose_spans(found, [at(500), at(510), at(900)], Fraction(9))
    assert numbers(spans) == [
        (48.5, 52.5, 0),
        (88.5, 91.5, 4),
    ]
    length = sum(
        span.stop - span.start for span in choose_spans(found, [at(1), at(2)], Fraction(2))
    )
    assert length <= 2
