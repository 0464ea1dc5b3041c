"""`diffst train` chooses the model by the file's key."""

import re
from pathlib import Path

import pytest
import torch

from diffst.checkpoint import load_pipeline
from diffst.wan import build_random
from diffst_cli.app import main
from tests.diffst.star.training.toy import toy_cogvideox_config, toy_config
from tests.diffst.training.test_dataset import write_clip
from tests.media import make_video


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
    assert re.search(r"step 2, \d\.\d min: cfca", said)
    assert f"{tmp_path}/out/last" in said.replace("\n", "")
    assert load_pipeline(tmp_path / "out" / "last").config.trained
    assert main(["train", "--quiet", str(run_file)]) == 0
    assert len((tmp_path / "out" / "log.jsonl").read_text().splitlines()) == 1


def test_of_processes_that_train_together_the_first_speaks(run_file, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("diffst.wan.training.loop.train", lambda wanted, **_: wanted.out)
    assert main(["train", str(run_file)]) == 0
    assert capsys.readouterr().err == ""


def test_too_little_memory_is_told_with_what_helps(run_file, capsys, monkeypatch):
    def fail(wanted, report):
        raise torch.OutOfMemoryError("tried to allocate 20 GiB")

    monkeypatch.setattr("diffst.wan.training.loop.train", fail)
    assert main(["train", str(run_file)]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "too little memory: tried to allocate 20 GiB" in said
    assert "`lora_rank = 64`" in said


def test_nano_in_too_little_memory_is_told_what_helps_too(tmp_path, capsys, monkeypatch):
    def fail(wanted, report):
        raise torch.OutOfMemoryError("tried to allocate 20 GiB")

    monkeypatch.setattr("diffst.training.loop.train", fail)
    assert main(["train", str(nano_file(tmp_path, "minutes = 1"))]) == 1
    assert "hint: lower `batch_windows` or `crop`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("batch_windows = 0", "is not a training file: `batch_windows` is at least 1, not 0"),
        ('device = "gpu"', "cannot start: device `gpu` is not available on this machine"),
    ],
)
def test_what_is_wrong_with_a_run_of_nano_is_said_in_a_sentence(tmp_path, capsys, line, sentence):
    assert main(["train", str(nano_file(tmp_path, line))]) == 1
    assert sentence in " ".join(capsys.readouterr().err.split())


def nano_file(folder, line):
    """A training file of nano's size, with a clip in place."""
    write_clip(folder / "clips", "a", size=(16, 16))
    places = "\n".join(f'{key} = "{folder}/clips"' for key in ("data", "validation"))
    path = folder / "nano.toml"
    path.write_text(f'{places}\nout = "{folder}/out"\n{line}\n')
    return path


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('"wan"', '"wan-14b"', "`model` is one of nano, wan, star-light"),
        ("stage = 1", "stage = 4", "`stage` is 0, 1 or 2, not 4"),
        ("/start", "/nowhere", "cannot start: no `model_index.json`"),
        ("/clips", "/nowhere", "there are no prepared clips"),
        ("crop = 16", "crop = 64", "cannot start: no clip in"),
        ("stage = 1", "stage = ", "is not a training file"),
        ("steps = 2", 'steps = "2"', "`steps` in"),
        ('"cpu"', '"cuda"', "cannot start: this machine has no CUDA device"),
        ("stage = 1", 'validation = "nowhere"\nstage = 1', "no prepared clips in `nowhere`"),
        ("stage = 1", 'log_with = ["paper"]\nstage = 1', "knows tensorboard, wandb, not `paper`"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(run_file, capsys, old, new, sentence):
    run_file.write_text(run_file.read_text().replace(old, new, 1))
    assert main(["train", str(run_file)]) != 0
    said = " ".join(capsys.readouterr().err.split())
    assert sentence in said
    assert "Traceback" not in said


def test_star_on_cogvideox_is_trained_and_upscales(tmp_path, capsys):
    config = toy_cogvideox_config(tmp_path)
    (tmp_path / "star.toml").write_text(
        'model = "star-cogvideox"\nparts = "local"\nsteps = 1\nframes = 9\ncrop = 12\n'
        f'data = "{config.data}"\nout = "{config.out}"\nstart_from = "{config.start_from}"\n'
        'batch_clips = 1\ndevice = "cpu"\nbfloat16 = false\nlog_steps = 1\n'
    )
    assert main(["train", str(tmp_path / "star.toml")]) == 0
    assert re.search(r"step 1, .* frequency 0\.\d+, total", capsys.readouterr().err)
    make_video(tmp_path / "in.mp4", num_frames=2, size=(32, 24))
    asked = ("upscale", f"{tmp_path}/in.mp4", f"{tmp_path}/out.mkv", "--device", "cpu", "--quiet")
    model = ("--model", f"{tmp_path}/out/last", "--scale", "2", "--steps", "1")
    assert main([*asked, *model]) == 0
    assert (tmp_path / "out.mkv").is_file()


@pytest.fixture
def star_file(tmp_path: Path) -> Path:
    """Two steps of STAR's local enhancement on a prepared clip of noise."""
    config = toy_config(tmp_path)
    (tmp_path / "star é.toml").write_text(
        'model = "star-light"\nparts = "local"\nsteps = 2\nsave_steps = 1\nframes = 2\ncrop = 32\n'
        f'data = "{config.data}"\nout = "{config.out}"\nstart_from = "{config.start_from}"\n'
        'batch_clips = 1\ndecoded_frames = 1\ndevice = "cpu"\nbfloat16 = false\nlog_steps = 1\n',
        encoding="utf-8",
    )
    return tmp_path / "star é.toml"


def test_star_is_trained_and_upscales(star_file, tmp_path, capsys):
    assert main(["train", str(star_file)]) == 0
    said = capsys.readouterr().err
    assert re.search(r"step 2, 0\.\d min: velocity 0\.\d+, frequency 0\.\d+, total", said)
    assert f"{tmp_path}/out/last" in said.replace("\n", "")
    make_video(tmp_path / "in.mp4", num_frames=2, size=(32, 24))
    asked = ("upscale", f"{tmp_path}/in.mp4", f"{tmp_path}/out.mkv", "--device", "cpu", "--quiet")
    model = ("--model", f"{tmp_path}/out/last", "--scale", "2", "--steps", "1")
    assert main([*asked, *model]) == 0
    assert (tmp_path / "out.mkv").is_file()


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('"local"', '"all"', "`parts` is one of control, local, not `all`"),
        ("star-light", "star-cogvideox", "is not a training file: unknown key `decoded_frames`"),
        ('"cpu"', '"cuda"', "cannot start: device `cuda` is not available on this machine"),
        ("frames = 2", "frames = 99", "cannot start: no clip in"),
        ("start_from", "# start_from", "`diffst models pull star-light` fetches it"),
        ("/start", "/nowhere", "this run cannot start: no `model_index.json` in"),
        ("/clips", "/nowhere", "there are no prepared clips"),
        ("log_steps = 1", "lr = 1", "is not a training file: unknown key `lr`"),
    ],
)
def test_what_is_wrong_with_a_run_of_star_is_said_in_a_sentence(
    star_file, capsys, old, new, sentence, monkeypatch, tmp_path
):
    monkeypatch.setenv("DIFFST_MODELS", str(tmp_path / "models"))
    text = star_file.read_text(encoding="utf-8")
    star_file.write_text(text.replace(old, new, 1), encoding="utf-8")
    assert main(["train", str(star_file)]) != 0
    said = " ".join(capsys.readouterr().err.split())
    assert sentence in said
    assert "Traceback" not in said
