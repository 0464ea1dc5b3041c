from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from diffst_cli import forecast
from diffst_cli.codecs import CODECS
from diffst_cli.encoding import Encoding
from diffst_cli.forecast import (
    SizeForecast,
    computed_time,
    forecast_size,
    matrix_rate,
    measured_time,
)
from diffst_cli.job import UpscaleJob
from diffst_cli.memory_laws import wan_operations
from diffst_cli.planner import RunPlan, plan_run
from diffst_cli.probe import Colour, probe
from tests.fakes import BilinearModel
from tests.media import make_with_audio

UNSTATED = Colour(matrix=None, range=None, primaries=None, transfer=None, chroma_location=None)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """10 frames of 64x48, 0.4 s, with sound."""
    return make_with_audio(tmp_path / "in.mp4")


def plan_of(video: Path, **options: Any) -> RunPlan:
    job = UpscaleJob(input=video, output=Path("out.mp4"), device="cpu", precision="fp32", **options)
    return plan_run(job, probe(video), BilinearModel().rules)


def encoding(name: str = "h264", **values: Any) -> Encoding:
    usual: dict[str, Any] = {
        "codec": CODECS[name],
        "pixel_format": "yuv420p",
        "bit_depth": 8,
        "size": (256, 192),
        "sample_aspect": Fraction(1),
        "colour": UNSTATED,
        "options": {},
        "notes": (),
    }
    return Encoding(**{**usual, **values})


def test_size_follows_pixels_frames_and_quality(video: Path):
    plan, info = plan_of(video), probe(video)
    sound = round(16_000 * float(info.duration_seconds or 0))
    picture = round(0.17 / 8 * 256 * 192 * 10)
    usual = forecast_size(plan, encoding(), info, crf=None, free=7)
    assert usual.video_bytes == pytest.approx(picture + sound, abs=2)
    assert usual.working_bytes == pytest.approx(2 * picture + sound, abs=2)
    assert usual.free_bytes == 7
    halved = forecast_size(plan, encoding(), info, crf=22, free=7)
    assert halved.video_bytes == pytest.approx(picture / 2 + sound, abs=2)


def test_size_of_a_lossless_codec_follows_its_depth(video: Path):
    plan, info = plan_of(video), replace(probe(video), streams=())
    flat = forecast_size(plan, encoding("ffv1"), info, crf=None, free=0).video_bytes
    deep = forecast_size(plan, encoding("ffv1", bit_depth=16), info, crf=None, free=0).video_bytes
    assert flat == 256 * 192 * 10
    assert deep == 2 * flat


def test_size_and_time_of_unknown_length_are_unknown(video: Path):
    plan = replace(plan_of(video), num_frames=None)
    size = forecast_size(plan, encoding(), probe(video), crf=None, free=0)
    assert (size.video_bytes, size.working_bytes) == (None, None)
    assert measured_time(BilinearModel(), plan).seconds is None


def test_trial_is_scaled_to_the_whole_video(video: Path, monkeypatch: pytest.MonkeyPatch):
    """Each call takes 2 s for 4 frames: 0.5 s a frame, a quarter of the size in the trial."""
    ticks = iter([0.0, 9.0, 10.0, 12.0])
    monkeypatch.setattr(forecast, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    monkeypatch.setattr(forecast, "TRIAL_PIXELS", 64 * 48 / 4)
    found = measured_time(BilinearModel(), plan_of(video))
    assert found.source == "measured"
    assert found.explanation == "by a trial of 4 frames of 32x24 here, now"
    assert found.seconds == pytest.approx(3 + 10 * (2 / 4) * 4 * 1.15)


def test_computed_time_is_operations_at_the_speed_of_products(
    video: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(forecast, "matrix_rate", lambda device, precision: 2.6e12)
    plan = plan_of(video, model="wan-1.3b", size=(64, 48))
    assert plan.rung.limits.window_frames == 5
    operations = 2 * sum(wan_operations(64 * 48, 5).values())  # for 10 frames
    found = computed_time(plan)
    assert found.seconds == pytest.approx(3 + operations / 2e12)
    assert "at 2 TFLOP/s (matrix products here reach 2.6)" in found.explanation
    on_gpu = computed_time(replace(plan, device="cuda:0")).seconds
    assert on_gpu == pytest.approx(3 + operations * 4.5 / 2.6e12)


def test_speed_of_products_is_measured(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(forecast.MATRIX_SIDES, "cpu", 16)
    ticks = iter([0.0, 0.1, 0.2, 0.4])
    monkeypatch.setattr(forecast, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    assert matrix_rate("cpu", "fp32") == pytest.approx(3 * 2 * 16**3 / 0.4)


def test_each_product_on_a_gpu_is_long_and_waited_for(monkeypatch: pytest.MonkeyPatch):
    waited: list[str] = []
    ticks = iter([0.0, 0.1, 0.4])
    rand = torch.rand
    monkeypatch.setattr(torch, "rand", lambda *sides, device: rand(*sides, device="meta"))
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    monkeypatch.setattr(forecast, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    rate = matrix_rate("cuda:0", "bf16")
    assert waited == ["cuda:0"] * 3  # one to warm up
    assert rate == pytest.approx(2 * 2 * 8192**3 / 0.4)


@pytest.mark.parametrize(("free", "is_short"), [(149_999_999, True), (150_000_000, False)])
def test_a_disk_is_short_unless_something_is_left(free: int, is_short: bool):
    size = SizeForecast(video_bytes=60_000_000, working_bytes=100_000_000, free_bytes=free)
    assert (size.shortage is not None) == is_short


def test_a_disk_that_is_short_is_told_what_it_lacks():
    size = SizeForecast(video_bytes=90_000, working_bytes=154_000, free_bytes=3_000_000)
    assert size.shortage == "the disk may need 50 MB, and has 3 MB"
