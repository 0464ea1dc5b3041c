"""The training file of STAR."""

import math
from pathlib import Path

import pytest

from diffst.star.training.config import CogVideoXTrainConfig, UNetTrainConfig, load_star_config
from tests.diffst.star.random_star import save_random

NEEDED = 'data = "clips"\nout = "out"\n'


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    return tmp_path / "run.toml"


def test_the_defaults_are_the_papers(run_file):
    run_file.write_text(f'model = "star-light"\nstart_from = "model"\n{NEEDED}')
    config = load_star_config(run_file)
    assert config == UNetTrainConfig(data=Path("clips"), out=Path("out"), start_from=Path("model"))
    assert (config.steps, config.learning_rate, config.frames) == (15000, 5e-5, 32)
    assert (config.batch_clips, config.weight_frequency) == (8, 1.0)


def test_sizes_are_those_the_network_takes_without_padding():
    for crop, size in ((32, (80, 128)), (176, (656, 704))):
        config = UNetTrainConfig(data=Path(), out=Path(), start_from=Path(), crop=crop)
        assert config.size == size
        assert (size[0] // 8 % 8, size[1] // 8 % 8) == (2, 0)
        assert config.keyframes == 36


def test_a_named_model_is_where_a_run_starts_unless_another_is_given(
    run_file, tmp_path, monkeypatch
):
    monkeypatch.setenv("DIFFST_MODELS", str(tmp_path / "models"))
    run_file.write_text(f'model = "star-heavy"\n{NEEDED}')
    with pytest.raises(FileNotFoundError, match="star-heavy"):
        load_star_config(run_file)
    save_random(tmp_path / "models" / "star-heavy")
    assert load_star_config(run_file).start_from == tmp_path / "models" / "star-heavy"


def test_the_other_star_has_defaults_of_its_own(run_file):
    run_file.write_text(f'model = "star-cogvideox"\nstart_from = "model"\n{NEEDED}')
    config = load_star_config(run_file)
    assert config == CogVideoXTrainConfig(
        data=Path("clips"), out=Path("out"), start_from=Path("model")
    )
    assert (config.frames, config.size, config.lora_rank) == (25, (480, 720), 512)
    run_file.write_text(run_file.read_text() + "decoded_frames = 3\n")
    with pytest.raises(ValueError, match="unknown key `decoded_frames`"):
        load_star_config(run_file)


@pytest.mark.parametrize("model", ["star-tiny", ""])
def test_a_model_that_cannot_be_trained_is_refused(run_file, model):
    run_file.write_text(f'model = "{model}"\n{NEEDED}')
    with pytest.raises(ValueError, match=f"star-light, star-heavy, star-cogvideox, not `{model}`"):
        load_star_config(run_file)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"parts": "all"}, "`parts` is one of control, local, not `all`"),
        ({"crop": 40}, "`crop` is 32, 48, 64, ..., not 40"),
        ({"crop": 16}, "not 16"),
        ({"decoded_frames": 33}, "`decoded_frames` is 1 to 32"),
        ({"decoded_frames": 0}, "`decoded_frames` is 1 to 32"),
        ({"weight_frequency": -1.0}, "`weight_frequency` is at least 0 and finite, not -1.0"),
        ({"weight_frequency": math.nan}, "`weight_frequency` is at least 0 and finite, not nan"),
        ({"learning_rate": 0.0}, "`learning_rate` is above 0 and finite, not 0.0"),
        ({"learning_rate": math.inf}, "`learning_rate` is above 0 and finite, not inf"),
        ({"seed": -1}, "`seed` is at least 0 and below 2.63, not -1"),
        ({"batch_clips": 0}, "`batch_clips` is at least 1, not 0"),
    ],
)
def test_values_out_of_range_are_refused(value, message):
    with pytest.raises(ValueError, match=message):
        UNetTrainConfig(data=Path(), out=Path(), start_from=Path(), **value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"parts": "control"}, "`parts` is one of lora, local, not `control`"),
        ({"crop": 20}, "`crop` is 12, 24, 36, ..., not 20"),
        ({"frames": 24}, "`frames` is 9, 17 or 25, not 24"),
        ({"lora_rank": 0}, "`lora_rank` is at least 1, not 0"),
        ({"steps": 0}, "`steps` is at least 1, not 0"),
    ],
)
def test_values_out_of_range_of_the_other_star_are_refused(value, message):
    with pytest.raises(ValueError, match=message):
        CogVideoXTrainConfig(data=Path(), out=Path(), start_from=Path(), **value)
