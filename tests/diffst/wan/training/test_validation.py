"""What a checkpoint is measured by, its card, and its curves in TensorBoard."""

import dataclasses
import json
import sys
from types import ModuleType, SimpleNamespace
from typing import cast

import pytest
import torch
from accelerate import Accelerator
from PIL import Image

from diffst import metrics
from diffst.checkpoint import load_pipeline
from diffst.upscaler import load_model
from diffst.wan.training import loop
from diffst.wan.training.card import model_card
from diffst.wan.training.tracking import log_sample
from diffst.wan.training.validation import Validation, measure, to_luma, validate
from tests.diffst.wan.training.toy import ToyData, toy_batch

EVEN = [True, False, True, False, True]


def noise(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (5, 3, 64, 64), dtype=torch.uint8, generator=generator)


def test_luma_is_that_of_video_in_its_range():
    pixels = torch.tensor([[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 0, 255]], dtype=torch.uint8)
    luma = to_luma(pixels.view(4, 3, 1, 1)).flatten()
    # BT.709: 16 + 219 (0.2126 R + 0.7152 G + 0.0722 B)
    assert luma.tolist() == [16, 235, 63, 32]


def test_luma_does_not_depend_on_autocast():
    frames = noise(0)
    with torch.autocast("cpu", torch.bfloat16):
        made = to_luma(frames)
    assert torch.equal(made, to_luma(frames))


def test_the_metrics_are_those_of_evaluate_on_their_frames():
    enlarged, made, true = noise(0), noise(1), noise(2)
    values = measure(enlarged, made, true, kept=EVEN, true_motion=True)
    luma, true_luma = to_luma(made), to_luma(true)
    assert values["kept_psnr_y"] == metrics.psnr(luma[[0, 2, 4]], true_luma[[0, 2, 4]]).tolist()
    assert values["new_psnr_y"] == metrics.psnr(luma[[1, 3]], true_luma[[1, 3]]).tolist()
    assert values["kept_psnr_y_bicubic"][0] == metrics.psnr(to_luma(enlarged), true_luma)[0]
    assert values["new_ssim"] == metrics.ssim(luma[[1, 3]], true_luma[[1, 3]]).tolist()
    assert values["tof"] == metrics.flow_error(luma, true_luma).tolist()
    assert values["warping"] == metrics.warping_error([luma], true_luma)[0].tolist()


def test_new_frames_without_true_motion_and_pictures_are_not_measured():
    still = measure(noise(0), noise(1), noise(2), kept=EVEN, true_motion=False)
    picture = measure(noise(0)[:1], noise(1)[:1], noise(2)[:1], kept=[True], true_motion=True)
    assert set(still) == set(picture) == {"kept_psnr_y", "kept_psnr_y_bicubic", "kept_ssim"}
    assert len(picture["kept_ssim"]) == 1


def test_figures_are_means_over_the_first_windows(config):
    pipeline = load_pipeline(config.start_from)
    first, second = (
        {name: value[[n]] for name, value in vars(toy_batch()).items()} for n in range(2)
    )

    class Two(ToyData):
        def batches(self, *, first_step, process, num_processes):
            assert (first_step, process, num_processes) == (0, 0, 1)
            kind = type(toy_batch())
            yield from (kind(**first), kind(**second))
            raise AssertionError("asked for a third")

    found = validate(pipeline, Two(toy_batch()), 2)
    each = [validate(pipeline, One(kind), 1).figures for kind in (first, second)]
    for name, value in found.figures.items():
        assert value == pytest.approx((each[0][name] + each[1][name]) / 2), name
    assert torch.equal(found.true, first["targets"][0])
    assert found.made.shape == found.enlarged.shape == found.true.shape


class One(ToyData):
    def __init__(self, values):
        self.values = values

    def batches(self, *, first_step, process, num_processes):
        yield type(toy_batch())(**self.values)


@pytest.fixture
def measured(config):
    return dataclasses.replace(
        config,
        validation=config.data,
        validation_windows=1,
        steps=2,
        card={"license": "cc-by-4.0", "data": "two toys", "base_model": "Wan-AI/Wan2.1-T2V-1.3B"},
    )


def test_a_checkpoint_is_measured_shown_and_described(measured):
    lines: list[loop.Line] = []
    folder = loop.train(measured, lines.append)
    model = load_pipeline(folder)
    # Weights lie in a file's memory where its header ends; matrix products round by how they are aligned.
    for part in (model.cfca, model.vrg, model.transformer, model.codec):
        for parameter in part.parameters():
            parameter.data = parameter.data.clone()
    again = validate(model, ToyData(toy_batch()), 1)
    for name, value in again.figures.items():
        assert lines[0][name] == pytest.approx(value), name
    assert json.loads((measured.out / "log.jsonl").read_text())["tof"] == lines[0]["tof"]
    with Image.open(measured.out / "samples" / "step-2.gif") as sample:
        assert sample.size == (3 * 64, 64)
        assert sample.n_frames > 1
    card = (folder / "README.md").read_text()
    head = card.split("---")[1]
    assert "license: cc-by-4.0" in head
    assert "base_model: Wan-AI/Wan2.1-T2V-1.3B" in head
    assert "- Data: two toys" in card
    assert f"| {lines[0]['new_psnr_y']:.4f} |" in card
    assert '"rate_factor": 10' in card


def test_the_folder_with_its_card_is_a_model(measured):
    model = load_model(str(loop.train(measured)), device="cpu")
    frames = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    assert model(frames, [(0, 0.0), (0, 0.5)], (64, 64)).shape == (2, 3, 64, 64)


def test_a_card_without_figures_or_licence_says_so(config):
    card = (loop.train(dataclasses.replace(config, steps=1)) / "README.md").read_text()
    assert "Not measured during the training" in card
    assert "- Licence: not said; put `license` into `[card]`" in card
    assert "- Base model: not said; put `base_model` into `[card]`" in card
    head = card.split("---")[1]
    assert "license:" not in head
    assert "base_model:" not in head


def test_a_card_counts_the_windows_of_a_whole_step(config):
    run = dataclasses.replace(config, batch_windows=3, gradient_accumulation=4)
    card = model_card(run, step=7, num_processes=2, figures={})
    assert ": 7 steps of 24 windows," in card


def test_curves_and_samples_go_to_tensorboard(measured):
    pytest.importorskip("tensorboard", reason="needs `pip install diffst[train]`")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    lines: list[loop.Line] = []
    loop.train(dataclasses.replace(measured, log_with=("tensorboard",)), lines.append)
    events = EventAccumulator(str(measured.out / "tensorboard" / "diffst"))
    events.Reload()
    assert [event.step for event in events.Scalars("total")] == [1, 2]
    assert events.Scalars("tof")[0].value == pytest.approx(lines[0]["tof"])
    (sample,) = events.Images("sample")
    assert sample.encoded_image_string[:4] == b"GIF8"
    assert (sample.width, sample.height, sample.step) == (192, 64, 2)


def test_a_sample_goes_to_weights_and_biases_as_a_file(tmp_path, monkeypatch):
    module = ModuleType("wandb")
    vars(module)["Video"] = lambda path, format: (path, format)
    monkeypatch.setitem(sys.modules, "wandb", module)
    logged = []
    tracker = SimpleNamespace(name="wandb", log=lambda values, step: logged.append((values, step)))
    shown = Validation(figures={}, enlarged=noise(0), made=noise(1), true=noise(2))
    accelerator = cast(Accelerator, SimpleNamespace(trackers=[tracker]))
    path = log_sample(accelerator, tmp_path / "samples", shown, 7)
    assert logged == [({"sample": (str(path), "gif")}, 7)]
    assert path.name == "step-7.gif"


def test_curves_and_samples_go_to_weights_and_biases(measured, monkeypatch):
    """Into the folder of a run without a network, which `wandb sync` sends."""
    pytest.importorskip("wandb", reason="needs `pip install wandb`")
    monkeypatch.setenv("WANDB_MODE", "offline")
    lines: list[loop.Line] = []
    loop.train(dataclasses.replace(measured, log_with=("wandb",), save_steps=1), lines.append)
    (run,) = (measured.out / "wandb").glob("offline-run-*")
    (log,) = run.glob("*.wandb")  # records of JSON in protobuf
    written = log.read_bytes()
    for line in lines:
        for name in ("total", "tof"):
            assert name.encode() in written
            assert f"{line[name]!r}".encode() in written, name
    (sample,) = (run / "files" / "media" / "videos").glob("sample_2_*.gif")
    assert sample.read_bytes() == (measured.out / "samples" / "step-2.gif").read_bytes()


def test_a_tracker_that_is_not_installed_is_told(config, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    run = dataclasses.replace(config, log_with=("wandb",))
    with pytest.raises(ValueError, match="names wandb, which is not installed; run `pip install"):
        loop.WanTrainer(run, lambda _: None)
