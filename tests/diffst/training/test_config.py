"""The training file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from diffst.training.config import load_config

RECIPE = Path(__file__).parents[3] / "models" / "diffst" / "training" / "nano.toml"


def test_the_recipe_of_nano_is_read():
    config = load_config(RECIPE)
    assert config.data == Path("build/training/train")
    assert (config.batch_windows, config.bfloat16, config.start_from) == (3, True, None)


def test_a_file_is_utf_8_in_every_locale(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('data = "größe 日本"\nvalidation = "b"\nout = "c"\n', encoding="utf-8")
    program = (
        "from pathlib import Path; from diffst.training.config import load_config\n"
        f"print(ascii(str(load_config(Path({str(file)!r})).data)))"
    )
    done = subprocess.run(
        [sys.executable, "-X", "utf8=0", "-c", program],
        env={**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == ascii("größe 日本"), done.stderr


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


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("data_workers = -1", "`data_workers` is 0 to 256, not -1"),
        ("batch_windows = 0", "`batch_windows` is at least 1, not 0"),
        ("threads = 0", "`threads` is 1 to 1024, not 0"),
        ("threads = 100000", "`threads` is 1 to 1024, not 100000"),
        ("data_workers = 1000000", "`data_workers` is 0 to 256, not 1000000"),
        ("minutes = 0", "`minutes` is above 0 and finite, not 0"),
        ("save_seconds = -5.0", "`save_seconds` is above 0 and finite, not -5.0"),
        ("learning_rate = nan", "`learning_rate` is above 0 and finite, not nan"),
        ("weight_decibels = -0.1", "`weight_decibels` is at least 0 and finite, not -0.1"),
        ("ema = 1.0", "`ema` is at least 0 and below 1, not 1.0"),
        ("faded_share = 1.5", "`faded_share` is 0 to 1, not 1.5"),
        ("crop = 50", "`crop` is a multiple of 16, not 50"),
        ("crop = 0", "`crop` is a multiple of 16, not 0"),
        ("seed = -1", "`seed` is at least 0 and below 2\\^63, not -1"),
    ],
)
def test_a_value_out_of_its_range_is_named(tmp_path, line, sentence):
    (tmp_path / "run.toml").write_text(f'data = "a"\nvalidation = "b"\nout = "c"\n{line}\n')
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        load_config(tmp_path / "run.toml")


LOSSES = ("reconstruction", "decibels", "spectrum", "consistency", "latent", "cfca")


@pytest.mark.parametrize("released", ["", "weight_frequency = 1.0\nfrequency_as_released = true"])
def test_a_run_in_which_no_loss_teaches_is_refused(tmp_path, released):
    zeros = "\n".join(f"weight_{name} = 0" for name in LOSSES)
    file = tmp_path / "run.toml"
    file.write_text(f'data = "a"\nvalidation = "b"\nout = "c"\n{zeros}\n{released}\n')
    with pytest.raises(ValueError, match="a weight of a loss that teaches is above 0"):
        load_config(file)
    file.write_text(file.read_text().replace("cfca = 0", "cfca = 1"))
    assert load_config(file).weight_cfca == 1
