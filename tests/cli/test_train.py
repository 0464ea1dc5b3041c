"""`diffst train` chooses the model by the file's key."""

from pathlib import Path

import pytest
import torch

from diffst.checkpoint import load_pipeline
from diffst.wan import build_random
from diffst_cli.app import main
from tests.diffst.training.test_dataset import write_clip


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    """Stage 1 for two steps on a prepared clip of noise."""
    write_clip(tmp_path / "clips", "a", size=(16, 16))
    build_random("tiny", dtype=torch.float32).save_pretrained(tmp_path / "start")
    (tmp_path / "run.toml").write_text(
        f'model = "wan"\nstage = 1\nsteps = 2\ndata = "{tmp_path}/clips"\nout = "{tmp_path}/out"\n'
        f'start_from = "{tmp_path}/start"\nframes = 5\ncrop = 16\n'
        'device = "cpu"\nbfloat16 = false\n'
    )
    return tmp_path / "run.toml"


def test_a_stage_of_a_model_of_wans_size_runs_and_is_not_run_twice(run_file, tmp_path, capsys):
    assert main(["train", str(run_file)]) == 0
    said = capsys.readouterr().err
    assert "step 2, 0.0 min: cfca" in said
    assert f"{tmp_path}/out/last" in said.replace("\n", "")
    assert load_pipeline(tmp_path / "out" / "last").config.trained
    assert main(["train", "--quiet", str(run_file)]) == 0
    assert len((tmp_path / "out" / "log.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('"wan"', '"wan-14b"', '`model` is "nano" or "wan"'),
        ("stage = 1", "stage = 4", "`stage` is 0, 1 or 2, not 4"),
        ("/start", "/nowhere", "cannot start: no `model_index.json`"),
        ("/clips", "/nowhere", "there are no prepared clips"),
        ("crop = 16", "crop = 64", "cannot start: no clip in"),
        ("stage = 1", "stage = ", "is not a training file"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(run_file, capsys, old, new, sentence):
    run_file.write_text(run_file.read_text().replace(old, new, 1))
    assert main(["train", str(run_file)]) != 0
    said = " ".join(capsys.readouterr().err.split())
    assert sentence in said
    assert "Traceback" not in said
