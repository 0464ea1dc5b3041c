"""The options of models that sample, and the CogVideoX-based STAR, through the whole command at a tiny size."""

from pathlib import Path

import numpy as np
import pytest
import torch

from diffst_cli import segments
from diffst_cli.app import main
from diffst_cli.probe import probe
from diffst_cli.reader import read_frames
from tests.diffst.star.test_cogvideox import sat_tensors
from tests.diffst.star.tiny_cogvideox import tiny_pipeline, tiny_vae
from tests.media import make_video


@pytest.fixture(scope="module")
def star(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "-star cog é"
    tiny_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return make_video(tmp_path / "in.mp4", num_frames=3, size=(32, 24))


def upscale(star: Path, output: str, *options: str) -> list[np.ndarray]:
    """Pictures of what the command makes."""
    asked = ("--model", str(star), "--scale", "2", "--device", "cpu", "--codec", "ffv1", "--quiet")
    assert main(["upscale", "in.mp4", output, *asked, "--precision", "fp32", *options]) == 0
    return [frame.image for frame in read_frames(probe(Path(output)))]


def test_the_command_makes_a_video_with_twice_the_frames(source: Path, star: Path):
    made = upscale(star, "out.mkv", "--steps", "2", "--fps-x", "2")
    assert [image.shape for image in made] == [(48, 64, 3)] * 6
    # Colours are the input's, whatever the random network makes of the rest.
    given = [frame.image for frame in read_frames(probe(source))]
    for image, original in zip(made[::2], given, strict=True):
        assert (
            np.abs(image.mean((0, 1)) - original.mean((0, 1))).max() < 12
        )  # some values are cut off at 255


def test_a_seed_decides_the_result(source: Path, star: Path):
    one, again, other = (
        upscale(star, f"{number}.mkv", "--steps", "1", "--seed", seed)
        for number, seed in enumerate(("3", "3", "4"))
    )
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_a_prompt_without_a_text_encoder_is_told_in_one_sentence(
    source: Path, star: Path, capsys: pytest.CaptureFixture[str]
):
    asked = ("--model", str(star), "--device", "cpu", "--prompt", "a cat")
    assert main(["upscale", "in.mp4", "out.mkv", *asked]) == 1
    assert "has no `text_encoder`" in capsys.readouterr().err
    assert not Path("out.mkv").exists()


def test_more_steps_than_the_model_takes_are_refused(
    source: Path, star: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["upscale", "in.mp4", "out.mkv", "--model", str(star), "--steps", "1001"]) == 2
    assert "`--steps` is `1001`; it takes 1 to 1000" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["star-light", "star-heavy", "star-cogvideox"])
def test_a_model_that_was_not_downloaded_is_told_with_its_licence(
    source: Path,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setenv("DIFFST_MODELS", str(tmp_path / "none"))
    assert main(["upscale", "in.mp4", "out.mkv", "--model", name]) == 1
    said = capsys.readouterr().err
    assert f"the model `{name}` is not on this machine" in said
    assert f"`diffst models pull {name}` fetches it" in said
    assert "licence" in said
    assert not Path("out.mkv").exists()


@pytest.mark.parametrize(
    "option", [("--steps", "4"), ("--seed", "1"), ("--prompt", ""), ("--guidance", "2")]
)
def test_an_option_of_the_sampler_is_refused_for_nano(
    source: Path, option: tuple[str, str], capsys: pytest.CaptureFixture[str]
):
    assert main(["upscale", "in.mp4", "out.mkv", *option]) == 2
    said = capsys.readouterr().err
    assert f"`{option[0]}` is for models that sample, and `nano` is not one of them" in said


def test_published_files_are_converted_by_the_first_command_that_uses_them(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("DIFFST_MODELS", str(tmp_path / "models"))
    folder = tmp_path / "models" / "star-cogvideox"
    (folder / "published").mkdir(parents=True)
    torch.save({"module": sat_tensors()}, folder / "published" / "mp_rank_00_model_states.pt")
    tiny_vae().save_pretrained(folder / "vae")
    for name in ("1.mkv", "2.mkv"):
        asked = ("--model", "star-cogvideox", "--duration", "0.04", "--device", "cpu", "--quiet")
        options = ("--steps", "1", "--scale", "1", "--codec", "ffv1", "--precision", "fp32")
        # What `models pull` would bring beside these is not needed without a prompt.
        monkeypatch.setattr("diffst_cli.downloaded.is_complete", lambda *_: True)
        assert main(["upscale", "in.mp4", name, *asked, *options]) == 0
    converted = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    assert converted.is_file()
    first, second = (
        [f.image for f in read_frames(probe(Path(name)))] for name in ("1.mkv", "2.mkv")
    )
    assert np.array_equal(first, second)


def test_where_segments_begin_changes_no_picture(
    source: Path, star: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    make_video(tmp_path / "in.mp4", num_frames=30, size=(32, 24))
    made = []
    for most, name in ((1000, "one.mkv"), (10, "two.mkv")):
        monkeypatch.setattr(segments, "MIN_KEYFRAMES", most)
        monkeypatch.setattr(segments, "MAX_KEYFRAMES", most)
        made.append(upscale(star, name, "--steps", "1"))
    assert len(made[0]) == 30
    whole, parts = made
    assert np.array_equal(whole, parts)
