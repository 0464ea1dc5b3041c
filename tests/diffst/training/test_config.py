"""The training file."""

from pathlib import Path

import pytest

from diffst.training.config import load_config

RECIPE = Path(__file__).parents[3] / "models" / "diffst" / "training" / "nano.toml"


def test_the_recipe_of_nano_is_read():
    config = load_config(RECIPE)
    assert config.data == Path("build/training/train")
    assert (config.batch_windows, config.bfloat16, config.start_from) == (3, True, None)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('data = "a"\nvalidation = "b"\nout = "c"\nsteps = 3\n', "unknown key `steps`"),
        ('data = "a"\nout = "c"\n', "lacks `validation`"),
    ],
)
def test_a_wrong_key_is_named(tmp_path, text, sentence):
    (tmp_path / "run.toml").write_text(text)
    with pytest.raises(ValueError, match=sentence):
        load_config(tmp_path / "run.toml")
