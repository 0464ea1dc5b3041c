"""Training a tiny model of Wan's kind: it learns two clips by heart, resumes, and what it leaves is a model."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from diffst.checkpoint import load_pipeline, new_nano
from diffst.upscaler import load_model
from diffst.wan.training import loop
from diffst.wan.training.config import WanTrainConfig
from diffst.wan.training.stages import Cut, aggregated, decoded_run, encoded
from tests.diffst.wan.training.toy import sample, toy_batch

PARTS = ("cfca", "vrg", "transformer", "codec")


def learnt(config: WanTrainConfig, batch) -> tuple[float, float]:
    """Weighted losses of the first step and of the last."""
    trainer = loop.WanTrainer(config, lambda _: None)
    lines = [trainer.train_step(batch) for _ in range(config.steps)]
    return lines[0]["total"], lines[-1]["total"]


def test_stage_0_learns_two_clips_by_heart(config):
    run = dataclasses.replace(config, stage=0, steps=150, rate_factor=100)
    first, last = learnt(run, toy_batch())
    assert last < 0.1 * first


@pytest.mark.slow
def test_stage_1_learns_two_clips_by_heart(config):
    run = dataclasses.replace(config, steps=150, rate_factor=100, weights={"cfca": 0.0})
    first, last = learnt(run, toy_batch())
    assert last < 0.1 * first


@pytest.mark.slow
def test_stage_2_learns_two_clips_by_heart(config, monkeypatch):
    pipeline = load_pipeline(config.start_from)
    given = sample(toy_batch())
    # A random decoder cannot show any picture: the truth is what it shows of latents with other means.
    start = encoded(pipeline.codec, aggregated(pipeline, given), given.size)
    shift = 0.5 * torch.randn(16, 1, 1, generator=torch.Generator().manual_seed(3))
    truth = torch.stack(
        [decoded_run(pipeline.codec, z + shift, given.size, range(2)) for z in start]
    )
    # For the same reason the true first latent does not stand for one made before: all windows begin with their own.
    monkeypatch.setattr(loop.WanTrainer, "next_cut", lambda *_: Cut(first=0, run=range(2)))
    run = dataclasses.replace(
        config, stage=2, steps=50, rate_factor=100, weights={"latent": 0.0, "cfca": 0.0}
    )
    first, last = learnt(run, toy_batch(truth.detach()))
    # What is left is rounding to 8 bits and Charbonnier's epsilon.
    assert last < 0.15 * first


@pytest.mark.parametrize("stage", [0, 1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_that_was_stopped_goes_on_to_the_last_digit(config, tmp_path, stage):
    whole = dataclasses.replace(config, stage=stage, out=tmp_path / "whole", steps=3)
    # After two steps the average is no longer the weights themselves.
    halves = dataclasses.replace(whole, out=tmp_path / "halves", steps=2)
    loop.train(whole)
    loop.train(halves)
    loop.train(dataclasses.replace(halves, steps=3))
    lines = [
        [
            {name: value for name, value in json.loads(line).items() if name != "seconds"}
            for line in (out / "log.jsonl").read_text().splitlines()
        ]
        for out in (whole.out, halves.out)
    ]
    assert [line["step"] for line in lines[0]] == [2, 3]
    assert lines[0] == lines[1]
    ours, theirs = (load_pipeline(out / "last") for out in (whole.out, halves.out))
    for name in PARTS:
        for key, value in ours.components[name].state_dict().items():
            assert torch.equal(value, theirs.components[name].state_dict()[key]), (name, key)


@pytest.mark.parametrize(("stage", "parts"), [(0, {"cfca"}), (1, {"cfca", "vrg", "transformer"})])
def test_a_stage_changes_its_parts_and_no_others(config, stage, parts):
    before = load_pipeline(config.start_from)
    after = load_pipeline(loop.train(dataclasses.replace(config, stage=stage)))
    changed = {
        name
        for name in PARTS
        for key, value in before.components[name].state_dict().items()
        if not torch.equal(value, after.components[name].state_dict()[key])
    }
    assert changed == parts


def test_the_average_follows_its_formula_and_is_what_is_saved(config):
    run = dataclasses.replace(config, steps=2)
    trainer = loop.WanTrainer(run, lambda _: None)
    now = []
    for _ in range(2):
        trainer.train_step(toy_batch())
        now.append(trainer.pipeline.transformer.proj_out.bias.detach().clone())
    # The first step's weights are the first average; then the decay is (1 + n) / (10 + n), n = 1.
    expected = 2 / 11 * now[0] + 9 / 11 * now[1]
    made = trainer.averaged_weights()["transformer.proj_out.bias"]
    torch.testing.assert_close(made, expected)
    assert torch.equal(trainer.pipeline.transformer.proj_out.bias.detach(), now[1])


def test_weights_are_copied_once_and_by_the_process_that_writes_them(config, monkeypatch):
    trainer = loop.WanTrainer(config, lambda _: None)
    copied: list[torch.Tensor] = []

    def whole(value: torch.Tensor) -> torch.Tensor:
        copied.append(value)
        return value

    monkeypatch.setattr(loop, "whole", whole)
    made = trainer.averaged_weights()
    assert len(copied) == len(made) == len(trainer.model.state_dict())
    copied.clear()
    monkeypatch.setattr(type(trainer.accelerator), "is_main_process", False)
    assert trainer.averaged_weights() == {}
    assert not copied


@pytest.mark.parametrize("stage", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_two_windows_one_by_one_equal_both_at_once(config, stage):
    lines, weights = [], []
    for size in (2, 1):
        run = dataclasses.replace(
            config, stage=stage, batch_windows=size, gradient_accumulation=2 // size
        )
        trainer = loop.WanTrainer(run, lambda _: None)
        lines.append([trainer.train_step(toy_batch()) for _ in range(2)])
        weights.append(trainer.parameters())
    for both, single in zip(*lines, strict=True):
        # Adam divides by gradients, so what rounding made of small ones in the first step is seen in the second's.
        assert single.pop("gradient") == pytest.approx(both.pop("gradient"), rel=1e-3)
        assert single == pytest.approx(both, rel=1e-4)
    for both, single in zip(*weights, strict=True):
        # A hundredth of one step of the rate of 1e-3, for the same reason.
        torch.testing.assert_close(single, both, rtol=1e-5, atol=1e-5)


def test_the_rate_rises_and_stays(config):
    trainer = loop.WanTrainer(config, lambda _: None)
    rates = []
    for _ in range(3):
        trainer.train_step(toy_batch())
        rates.append([group["lr"] for group in trainer.optimizer.param_groups])
    full = [1e-3, 1e-3, 2e-4]
    assert rates == [[rate / 2 for rate in full], full, full]


def test_what_is_left_is_a_model_that_upscales(config):
    folder = loop.train(dataclasses.replace(config, sigma=0.5, timestep=500.0))
    model = load_model(str(folder), device="cpu")
    frames = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    made = model(frames, [(0, 0.0), (0, 0.5), (1, 0.0)], (64, 64))
    assert made.shape == (3, 3, 64, 64)
    index = json.loads((folder / "model_index.json").read_text())
    assert (index["sigma"], index["timestep"], index["trained"]) == (0.5, 500.0, True)


def test_after_stage_0_alone_it_is_not_called_trained(config):
    folder = loop.train(dataclasses.replace(config, stage=0))
    with pytest.raises(ValueError, match="no trained DiffST weights"):
        load_model(str(folder), device="cpu")


def test_stages_follow_each_other(config, tmp_path):
    folder = config.start_from
    for stage in (0, 1, 2):
        run = dataclasses.replace(
            config, stage=stage, start_from=folder, out=tmp_path / f"stage {stage}", steps=1
        )
        folder = loop.train(run)
    assert load_pipeline(folder).config.trained


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")  # see `loop.train`
def test_bfloat16_computes_short_and_keeps_weights_long(config):
    run = dataclasses.replace(config, stage=2, bfloat16=True, steps=1)
    trainer = loop.WanTrainer(run, lambda _: None)
    computed = set()
    first = trainer.pipeline.transformer.blocks[0].attn1.to_q
    first.register_forward_hook(lambda module, given, made: computed.add(made.dtype))
    folder = trainer.run()
    assert computed == {torch.bfloat16}
    saved = [*folder.glob("*/*.safetensors"), *run.out.glob("state/*.safetensors")]
    assert {path.parent.name for path in saved} == {*PARTS, "state"}
    # Read as they lie there: what loads a pipeline makes them float32.
    assert {kind for path in saved for kind in kinds(path)} == {"F32"}


def kinds(path: Path) -> set[str]:
    """Types of the tensors of a file of safetensors."""
    with safe_open(path, framework="pt") as held:
        return {held.get_slice(name).get_dtype() for name in held.keys()}  # noqa: SIM118


@pytest.mark.parametrize("name", ["last", "state"])
def test_a_folder_that_was_aside_when_a_run_was_killed_is_back_when_it_goes_on(config, name):
    loop.train(dataclasses.replace(config, steps=2))
    (config.out / name).rename(config.out / f"{name}.old")
    trainer = loop.WanTrainer(config, lambda _: None)
    assert trainer.step_number == 2
    assert load_pipeline(config.out / "last").config.trained


def test_the_log_is_json_whatever_was_measured(config):
    trainer = loop.WanTrainer(config, lambda _: None)
    trainer.checkpoint({"total": 0.5, "latent": float("nan"), "cfca": float("inf")}, 1.0)
    text = (config.out / "log.jsonl").read_text()
    assert text == '{"step": 0, "seconds": 1, "total": 0.5, "latent": null, "cfca": null}\n'


def test_a_run_of_another_stage_is_not_gone_on_with(config):
    loop.train(dataclasses.replace(config, steps=1))
    with pytest.raises(ValueError, match=r"holds a run of stage 1; put `.*last` in `start_from`"):
        loop.train(dataclasses.replace(config, stage=2))


def test_nano_is_refused_as_a_start(config, tmp_path):
    new_nano(0).save_pretrained(tmp_path / "nano")
    with pytest.raises(ValueError, match="holds no pipeline of Wan's size"):
        loop.train(dataclasses.replace(config, start_from=tmp_path / "nano"))


def test_a_gradient_that_is_not_finite_stops_the_run(config):
    trainer = loop.WanTrainer(config, lambda _: None)
    trainer.pipeline.transformer.proj_out.bias.data.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="diverged at step 0"):
        trainer.train_step(toy_batch())
