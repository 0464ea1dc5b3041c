"""The training file of a model of Wan's size."""

import re

import pytest

from diffst.wan.training.config import load_wan_config

WHOLE = 'model = "wan"\ndata = "a"\nout = "b"\nstart_from = "c"\nstage = 1\nsteps = 9\n'
IN_PIXELS = WHOLE.replace("stage = 1", "stage = 2")


def test_a_file_is_read(tmp_path):
    (tmp_path / "run.toml").write_text(f"{WHOLE}frames = 33\n[weights]\ncfca = 0.5\n")
    config = load_wan_config(tmp_path / "run.toml")
    assert (str(config.start_from), config.weights) == ("c", {"cfca": 0.5})
    assert (config.latents, config.keyframes) == (9, 21)


def test_a_loss_that_is_made_where_asked_and_other_lists_are_read(tmp_path):
    (tmp_path / "run.toml").write_text(
        f'{IN_PIXELS}log_with = ["tensorboard"]\n[weights]\ndists = 1.0\n[card]\nlicense = "mit"\n'
    )
    config = load_wan_config(tmp_path / "run.toml")
    assert (config.weights, config.card) == ({"dists": 1.0}, {"license": "mit"})
    assert config.log_with == ("tensorboard",)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('model = "wan"\ndata = "a"\nout = "b"\n', "lacks `stage`"),
        (f"{WHOLE}minutes = 3\n", "unknown key `minutes`"),
        (WHOLE.replace("stage = 1", "stage = 3"), "`stage` is 0, 1 or 2, not 3"),
        (f"{WHOLE}frames = 16\n", "`frames` is 5, 9, 13, 17, ..., not 16"),
        (f"{WHOLE}crop = 30\n", "`crop` is a multiple of 4, not 30"),
        (f"{WHOLE}run_latents = 6\n", "`run_latents` is 2 to 5"),
        (f"{WHOLE}save_steps = 0\n", "`save_steps` is at least 1, not 0"),
        (
            f"{WHOLE}[weights]\nspectrum = 1\n",
            "stage 1 has no loss `spectrum`; it has latent, cfca",
        ),
        (WHOLE.replace("9", '"9"'), "is a whole number, not '9'"),
        (WHOLE.replace("9", "true"), "is a whole number, not True"),
        (f'{WHOLE}ema = "0.9"\n', "is a number, not '0.9'"),
        (f"{WHOLE}bfloat16 = 1\n", "is true or false, not 1"),
        (WHOLE.replace('"c"', "3"), "is a path in quotes, not 3"),
        (f"{WHOLE}lora_rank = -1\n", "`lora_rank` is at least 0"),
        (f"{WHOLE.replace('stage = 1', 'stage = 0')}lora_rank = 2\n", "0 in stage 0"),
        (f'{WHOLE}device = "tpu"\n', "`device` knows cuda, cpu, not `tpu`"),
        (f'{WHOLE}log_with = "paper"\n', "is a list, not 'paper'"),
        (f"{WHOLE}weights = 3\n", "is a table, not 3"),
        (
            f'{WHOLE}[weights]\nlatent = "big"\n',
            "the weight of `latent` is a finite number from 0 on",
        ),
        (f"{WHOLE}[weights]\nlatent = -1\n", "the weight of `latent` is a finite number from 0 on"),
        (f"{WHOLE}[card]\nlicense = 3\n", "`license` in `[card]` is a text in quotes"),
        (f"{WHOLE}ema = 1\n", "`ema` is at least 0 and below 1, not 1"),
        (f"{WHOLE}rate_factor = 0\n", "`rate_factor` is above 0 and finite, not 0"),
        (f"{WHOLE}rate_factor = inf\n", "`rate_factor` is above 0 and finite, not inf"),
        (f"{WHOLE}rate_factor = nan\n", "`rate_factor` is above 0 and finite, not nan"),
        (f"{WHOLE}seed = -1\n", "`seed` is at least 0 and below 2^63, not -1"),
        (f"{WHOLE}seed = {2**63}\n", f"`seed` is at least 0 and below 2^63, not {2**63}"),
        (f"{IN_PIXELS}crop = 12\n", "`crop` is at least 16 in stage 2"),
        (f"{WHOLE}[weights]\nlatent = inf\n", "the weight of `latent` is a finite number"),
        (
            f"{WHOLE}[weights]\nlatent = 0\ncfca = 0.0\n",
            "a weight of stage 1 is above 0, not all of them 0",
        ),
        (f"{WHOLE}timestep = 1001\n", "`timestep` is 0 to 1000, not 1001"),
        (f"{WHOLE}sigma = 0\n", "`sigma` is above 0 and at most 1, not 0"),
        (f'{WHOLE}[card]\nlicence = "MIT"\n', "`card` knows base_model, license, data"),
    ],
)
def test_a_wrong_key_or_value_is_named(tmp_path, text, sentence):
    (tmp_path / "run.toml").write_text(text)
    with pytest.raises(ValueError, match=re.escape(sentence)):
        load_wan_config(tmp_path / "run.toml")
