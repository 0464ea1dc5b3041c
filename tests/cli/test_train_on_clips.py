"""`diffst train` on what `diffst dataset` wrote."""

import json
from pathlib import Path

import cv2
import pytest
import torch

from diffst.wan import build_random
from diffst.wan.training.manifest import Clip, header, to_line, write_manifest
from diffst_cli.app import main
from tests.diffst.wan.training.footage import moving, video_clip, write_video

SIZE = (64, 80)
LONGEST = 49  # frames that a window of 5 reads at most


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    """Stage 2 for three steps on a tiny video and a picture, one step in two a picture's."""
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), moving(1, SIZE, seed=3)[0])
    clips = [
        video_clip(write_video(tmp_path / "é 日本.mp4", moving(LONGEST, SIZE)), LONGEST, size=SIZE),
        Clip(path=photo, kind="image", width=SIZE[1], height=SIZE[0]),
    ]
    write_manifest(
        tmp_path / "clips.jsonl", header({}), [to_line(clip, tmp_path) for clip in clips]
    )
    build_random("tiny", dtype=torch.float32).save_pretrained(tmp_path / "start")
    (tmp_path / "run.toml").write_text(
        f'model = "wan"\nstage = 2\nsteps = 3\ndata = "{tmp_path}/clips.jsonl"\n'
        f'out = "{tmp_path}/out"\nstart_from = "{tmp_path}/start"\nframes = 5\ncrop = 16\n'
        f'validation = "{tmp_path}/clips.jsonl"\nvalidation_windows = 1\n'
        'image_share = 0.5\ndata_workers = 0\nsave_steps = 1\ndevice = "cpu"\nbfloat16 = false\n'
    )
    return tmp_path / "run.toml"


def words(capsys) -> str:
    return " ".join(capsys.readouterr().err.split())


def test_videos_and_pictures_are_learnt_and_a_run_goes_on_to_the_last_digit(run_file, tmp_path):
    assert main(["train", "--quiet", str(run_file)]) == 0
    whole = (tmp_path / "out" / "log.jsonl").read_text().splitlines()
    lines = [json.loads(line) for line in whole]
    # Steps 0 to 2 of seed 0 are of a video, a video, a picture, which has no change from frame to frame.
    assert [line["consistency"] > 0 for line in lines] == [True, True, False]
    assert all(line["kept_psnr_y"] > 0 for line in lines)
    text = run_file.read_text().replace(f"{tmp_path}/out", f"{tmp_path}/again")
    for steps in (2, 3):
        run_file.write_text(text.replace("steps = 3", f"steps = {steps}", 1))
        assert main(["train", "--quiet", str(run_file)]) == 0
    cut = (tmp_path / "again" / "log.jsonl").read_text().splitlines()

    def numbers(line: str) -> dict[str, float]:
        return {name: value for name, value in json.loads(line).items() if name != "seconds"}

    assert [numbers(line) for line in cut] == [numbers(line) for line in whole]


def test_clips_that_are_too_short_are_told_of_once(run_file, tmp_path, caplog):
    found = tmp_path / "clips.jsonl"
    lines = found.read_text().splitlines()
    short = json.dumps({**json.loads(lines[1]), "num_frames": LONGEST - 1})
    found.write_text("\n".join([*lines, short]) + "\n")
    run_file.write_text(run_file.read_text().replace("steps = 3", "steps = 1"))
    assert main(["train", "--quiet", str(run_file)]) == 0
    # Of the list that is trained on, and of the one that is measured on, which is the same here.
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert all(f"`{found}`: 1 of 2 videos are used" in sentence for sentence in said)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("/clips.jsonl", "/nowhere.jsonl", "there is no list of clips"),
        ("/clips.jsonl", "/run.toml", "is not a list of clips"),
        ("crop = 16", "crop = 20", "no video at least 80 pixels wide and high"),
        ("frames = 5", "frames = 13", "and 57 frames long"),
        ("image_share = 0.5", "image_share = 1.5", "`image_share` is 0 to 1"),
        ("stage = 2", "stage = 0", "0 in stage 0, which learns motion"),
        ("data_workers = 0", "data_workers = -1", "`data_workers` is 0 to 256"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(run_file, capsys, old, new, sentence):
    run_file.write_text(run_file.read_text().replace(old, new))
    assert main(["train", str(run_file)]) == 1
    said = words(capsys)
    assert sentence in said
    assert "Traceback" not in said


def test_a_run_that_stops_does_not_say_that_it_cannot_start(run_file, tmp_path, capsys):
    (tmp_path / "photo.png").unlink()  # which is wanted in the third step
    assert main(["train", "--quiet", str(run_file)]) == 1
    said = words(capsys)
    assert f"error: this run stopped at step 2: cannot read `{tmp_path}/photo.png`" in said
    assert "hint: the same command goes on from the last checkpoint" in said


@pytest.mark.slow
def test_a_file_that_vanishes_is_named_by_the_processes_that_read(run_file, tmp_path, capsys):
    text = run_file.read_text().replace("data_workers = 0", "data_workers = 1")
    run_file.write_text(text)
    (tmp_path / "photo.png").unlink()
    assert main(["train", str(run_file)]) == 1
    said = words(capsys)
    assert "photo.png" in said
    assert "Traceback" not in said
