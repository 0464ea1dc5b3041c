import math
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffst.folders import EMBEDDED
from diffst.star.load import Sampling
from diffst_cli.errors import UsageError
from diffst_cli.job import (
    MAX_SIDE,
    UpscaleJob,
    parse_factor,
    parse_number,
    parse_rate,
    parse_seconds,
    parse_size,
)


def job(**options: Any) -> UpscaleJob:
    return UpscaleJob(input=Path("in.mp4"), output=Path("out.mp4"), **options)


def video(width: int, height: int, rate: Fraction = Fraction(25)) -> Any:
    return SimpleNamespace(
        path=Path("in.mp4"), width=width, height=height, frame_rate=rate, is_variable=False
    )


def test_without_options_it_is_four_times_the_size_at_the_same_rate():
    assert job().output_size(video(96, 54)) == (384, 216)
    assert job().output_rate(video(96, 54, Fraction(30000, 1001))) == Fraction(30000, 1001)
    assert (job().model, job().device, job().precision) == ("nano", "auto", "auto")
    assert not job().overwrite


@pytest.mark.parametrize(
    ("scale", "size", "expected"),
    [
        ("2", (427, 241), (854, 482)),
        ("1.5", (427, 241), (641, 362)),  # 640.5 and 361.5: halves go up
        ("1.1", (10, 5), (11, 6)),  # 5.5, which a float would make 5.500000000000001 or 5.4999
        ("1/3", (100, 50), (33, 17)),
        ("0.001", (100, 50), (1, 1)),
    ],
)
def test_sides_are_rounded_half_up_exactly(
    scale: str, size: tuple[int, int], expected: tuple[int, int]
):
    assert job(scale=parse_number(scale, "--scale")).output_size(video(*size)) == expected


@given(
    scale=st.fractions(min_value=Fraction(1, 1000), max_value=8, max_denominator=1000),
    width=st.integers(1, 2000),
)
def test_a_side_is_within_half_a_pixel_of_exact(scale: Fraction, width: int):
    made, _ = job(scale=scale).output_size(video(width, 1))
    assert made == max(1, math.floor(width * scale + Fraction(1, 2)))


def test_size_is_taken_as_it_is():
    assert job(size=(700, 333)).output_size(video(96, 54)) == (700, 333)


def test_a_size_of_more_than_eight_times_is_refused_as_such_a_scale_is():
    assert job(size=(768, 432)).output_size(video(96, 54)) == (768, 432)
    with pytest.raises(UsageError, match="769x432 is more than 8 times 96x54"):
        job(size=(769, 432)).output_size(video(96, 54))


def test_an_absurd_output_is_refused_with_its_size():
    with pytest.raises(UsageError, match=f"would be 30720x17280.*{MAX_SIDE}"):
        job(scale=Fraction(8)).output_size(video(3840, 2160))
    assert job(scale=Fraction(4)).output_size(video(MAX_SIDE // 4, 16)) == (MAX_SIDE, 64)


def test_fps_x_multiplies_the_rate_exactly():
    assert job(fps_x=Fraction(5, 2)).output_rate(video(9, 9, Fraction(24000, 1001))) == Fraction(
        60000, 1001
    )


def test_fps_is_the_rate():
    assert job(fps=Fraction(60)).output_rate(video(9, 9)) == 60


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"scale": Fraction(0)}, "--scale"),
        ({"scale": Fraction(-1)}, "--scale"),
        ({"scale": Fraction(801, 100)}, "--scale"),
        ({"scale": Fraction(2), "size": (10, 10)}, "--size"),
        ({"size": (0, 10)}, "--size"),
        ({"size": (10, MAX_SIDE + 1)}, "--size"),
        ({"fps_x": Fraction(99, 100)}, "--fps-x"),
        ({"fps_x": Fraction(65)}, "--fps-x"),
        ({"fps": Fraction(0)}, "--fps"),
        ({"fps": Fraction(-25)}, "--fps"),
        ({"fps": Fraction(1001)}, "--fps"),
        ({"fps": Fraction(25), "fps_x": Fraction(2)}, "--fps-x"),
        ({"start": Fraction(-1)}, "--start"),
        ({"duration": Fraction(0)}, "--duration"),
        ({"duration": Fraction(-1)}, "--duration"),
        ({"crf": -0.5}, "--crf"),
        ({"crf": 64.0}, "--crf"),
        ({"crf": math.nan}, "--crf"),
        ({"crf": math.inf}, "--crf"),
        ({"precision": "int8"}, "--precision"),
        ({"device": "tpu"}, "--device"),
        ({"device": "cuda:x"}, "--device"),
        ({"model": ""}, "--model"),
    ],
)
def test_a_bad_value_is_a_usage_error_that_names_its_option(options: dict[str, Any], named: str):
    with pytest.raises(UsageError, match=f"`{named}`") as caught:
        job(**options)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("model", ["nanoo", "/no/such/folder"])
def test_a_model_that_does_not_exist_is_told_at_once_with_those_that_do(model: str):
    with pytest.raises(UsageError, match=f"there is no model `{model}`; `--model` takes `nano`, "):
        job(model=model)


def test_a_folder_that_holds_no_model_is_told_at_once(tmp_path: Path):
    with pytest.raises(UsageError, match=r"a folder without `model_index\.json`, so not a model's"):
        job(model=str(tmp_path))


@pytest.mark.parametrize(
    "options",
    [
        {"scale": Fraction(8)},
        {"scale": Fraction(1, 100)},
        {"size": (1, MAX_SIDE)},
        {"fps_x": Fraction(1)},
        {"fps": Fraction(1, 10)},
        {"start": Fraction(0), "duration": Fraction(1, 100)},
        {"crf": 0.0},
        {"crf": 63.0},
        {"precision": "bf16"},
        {"device": "cuda:1"},
    ],
)
def test_the_ends_of_each_range_are_taken(options: dict[str, Any]):
    assert job(**options)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4", 4),
        ("1.5", Fraction(3, 2)),
        ("3/2", Fraction(3, 2)),
        (".5", Fraction(1, 2)),
        ("1e-1", Fraction(1, 10)),
    ],
)
def test_numbers_are_exact(text: str, value: Fraction):
    assert parse_number(text, "--scale") == value


@pytest.mark.parametrize(
    "text",
    ["", "x", "nan", "inf", "-inf", "1/0", "1,5", "1.2.3", "1e999999999", "1_0", "0x4", "9" * 50],
)
def test_what_is_not_a_number_is_refused(text: str):
    with pytest.raises(UsageError, match="`--scale`"):
        parse_number(text, "--scale")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("60", Fraction(60)),
        ("60000/1001", Fraction(60000, 1001)),
        ("23.976", Fraction(24000, 1001)),
        ("23.98", Fraction(24000, 1001)),
        ("29.97", Fraction(30000, 1001)),
        ("59.94", Fraction(60000, 1001)),
        ("119.88", Fraction(120000, 1001)),
        ("12.5", Fraction(25, 2)),
        ("2997/100", Fraction(2997, 100)),
    ],
)
def test_short_forms_of_ntsc_rates_mean_the_exact_rate(text: str, value: Fraction):
    assert parse_rate(text, "--fps") == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.6666666667", Fraction(5, 3)),
        ("41.6666666667", Fraction(125, 3)),
        ("41666666667/1000000000", Fraction(125, 3)),
        ("2.5025025025", Fraction(2500, 999)),
        ("1.66667", Fraction(166667, 100000)),  # further off than digits explain
        ("1e-5", Fraction(1, 100000)),
    ],
)
def test_a_long_decimal_means_the_ratio_it_rounds(text: str, value: Fraction):
    assert parse_factor(text, "--fps-x") == value
    assert parse_rate(text, "--fps") == value


def test_more_digits_than_a_file_holds_are_refused():
    for parse in (parse_factor, parse_rate):
        with pytest.raises(UsageError, match=r"`--fps` is `24\.00050001`, which has more digits"):
            parse("24.00050001", "--fps")


def test_a_factor_that_makes_too_many_frames_is_refused():
    assert job(fps_x=Fraction(40)).output_rate(video(9, 9)) == 1000
    with pytest.raises(UsageError, match="`64` would make 1600 frames a second, and at most 1000"):
        job(fps_x=Fraction(64)).output_rate(video(9, 9))


def test_a_fast_input_keeps_its_rate():
    assert job(fps_x=Fraction(1)).output_rate(video(9, 9, Fraction(2000))) == 2000


def test_a_factor_that_makes_a_rate_no_file_holds_is_refused():
    odd = video(9, 9, Fraction(10_000_000, 333_333))
    assert job(fps_x=Fraction(2)).output_rate(odd) == Fraction(20_000_000, 333_333)
    with pytest.raises(UsageError, match=r"would make 30\.03 frames a second, and only a simpler"):
        job(fps_x=Fraction(1001, 1000)).output_rate(
            video(9, 9, Fraction(2_147_483_647, 71_582_788))
        )


def test_sizes_are_width_by_height():
    assert parse_size("1920x1080", "--size") == (1920, 1080)
    assert parse_size("720X576", "--size") == (720, 576)


@pytest.mark.parametrize(
    "text", ["1920", "1920x", "x1080", "1920x1080x3", "-5x5", "1.5x2", "19 20x1"]
)
def test_what_is_not_a_size_is_refused(text: str):
    with pytest.raises(UsageError, match="`--size`"):
        parse_size(text, "--size")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("12.5", Fraction(25, 2)),
        ("90", 90),
        ("1:30", 90),
        ("0:01:30.25", Fraction(361, 4)),
        ("10:00:00", 36000),
    ],
)
def test_times_are_seconds_or_clock_times(text: str, value: Fraction):
    assert parse_seconds(text, "--start") == value


@pytest.mark.parametrize(
    "text", ["", ":", "1:", "1:60", "1:75:00", "1:2:3:4", "1:-5", "1.5:00", "a:b", "nan", "1:1e1"]
)
def test_what_is_not_a_time_is_refused(text: str):
    with pytest.raises(UsageError, match="`--start`"):
        parse_seconds(text, "--start")


@pytest.mark.parametrize("model", ["nano", "wan-1.3b", str(EMBEDDED["nano"])])
def test_options_of_a_sampler_are_refused_for_models_that_do_not_sample(model: str):
    for option in (
        {"steps": 4},
        {"guidance": 2.0},
        {"prompt": ""},
        {"seed": 0},
        {"windows": "cut"},
    ):
        name = next(iter(option))
        with pytest.raises(
            UsageError, match=f"`--{name}` is for models that sample, and `{model}`"
        ):
            job(model=model, **option)


@pytest.mark.parametrize(
    "option",
    [
        {"steps": 0},
        {"steps": 900},
        {"guidance": -1.0},
        {"guidance": math.nan},
        {"seed": -1},
        {"windows": "blend"},
    ],
)
def test_options_of_a_sampler_out_of_range_are_refused(option: dict[str, Any]):
    with pytest.raises(UsageError, match=f"`--{next(iter(option))}` is .*; it takes"):
        job(model="star-light", **option)
    assert job(model="star-light", steps=899, guidance=0.0, seed=2**63 - 1).seed == 2**63 - 1


def test_a_sampler_is_told_what_was_given_and_nothing_else():
    told = job(model="star-light", steps=3, guidance=2.0, prompt="", seed=4, windows="cut")
    assert told.sampling == Sampling(num_steps=3, guidance=2.0, prompt="", seed=4, windows="cut")
    assert job(model="star-light", seed=4).sampling == Sampling(seed=4)
    assert job(model="star-light").sampling is None
