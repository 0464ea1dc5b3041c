"""Training at toy size: it learns, saves, resumes."""

import dataclasses
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from diffst.checkpoint import load_pipeline, new_nano
from diffst.flow import neighbour_flows
from diffst.training import frequency, loop
from diffst.training.config import TrainConfig
from diffst.training.windows import Batch, to_device
from tests.diffst.test_cfca import smooth_clip
from tests.diffst.tiny import tiny_pipeline


def moving_batch(num_windows: int = 1) -> Batch:
    """Windows of a pan: six keyframes of 32 x 32 and the truth four times as large."""
    clip = torch.nn.functional.interpolate(smooth_clip(11), size=(128, 128), mode="bicubic").clamp(
        0, 1
    )
    small = torch.nn.functional.interpolate(clip, size=(32, 32), mode="bicubic", antialias=True)
    keyframes = small[::2].clamp(0, 1)
    return Batch(
        keyframes=(keyframes * 255).round().to(torch.uint8).expand(num_windows, -1, -1, -1, -1),
        flows=neighbour_flows(keyframes).expand(num_windows, -1, -1, -1, -1, -1),
        targets=(clip[4:7] * 255).round().to(torch.uint8).expand(num_windows, -1, -1, -1, -1),
        interpolate=torch.ones(num_windows, dtype=torch.bool),
    )


class OneBatch:
    """A data set of one batch, for ever."""

    left_out: tuple[str, ...] = ()
    described: tuple[str, ...] = ("pan",)

    def __init__(self, *_args, **_kwargs):
        pass

    def batches(self, size, **_options):
        while True:
            yield moving_batch(size)


@pytest.fixture
def config(tmp_path, monkeypatch) -> TrainConfig:
    monkeypatch.setattr(loop, "WindowDataset", OneBatch)
    monkeypatch.setattr(loop, "VALIDATION_WINDOWS", 8)
    return TrainConfig(
        data=tmp_path,
        validation=tmp_path,
        out=tmp_path / "out",
        minutes=0.01,
        batch_windows=1,
        threads=1,
    )


def test_a_window_is_made_as_the_pipeline_makes_it():
    pipeline = tiny_pipeline()
    keyframes, _, _, _ = to_device(moving_batch(), torch.device("cpu"))
    made = loop.forward(pipeline, keyframes, neighbour_flows(keyframes[0]).unsqueeze(0))
    expected = pipeline(keyframes[0], loop.TARGETS, (128, 128))
    seen = made.frames[0].clamp(0, 1)
    torch.testing.assert_close(seen[[0, 2]], expected[[0, 2]])
    # Without the ways to the outer keyframes, and at places that are not rounded.
    assert (seen[1] - expected[1]).abs().mean() < 0.2 * (seen[0] - seen[2]).abs().mean()


@pytest.mark.parametrize("value", [float("inf"), 1e6])
def test_a_run_that_diverges_says_so(config, value):
    trainer = loop.Trainer(config, lambda _: None)
    trainer.pipeline.codec.fine_decoder[0].conv2.weight.data.fill_(value)
    trainer.pipeline.codec.tail.weight.data.fill_(value)
    with pytest.raises(FloatingPointError, match="diverged at step 0"):
        trainer.train_step(moving_batch(), 0.5)


def test_windows_of_a_batch_do_not_see_each_other():
    pipeline = new_nano(0)
    keyframes, flows, _, _ = to_device(moving_batch(2), torch.device("cpu"))
    made = loop.forward(pipeline, keyframes, flows)
    changed = keyframes.clone()
    changed[1] = 1 - changed[1]
    again = loop.forward(pipeline, changed, flows)
    torch.testing.assert_close(made.frames[0], again.frames[0])
    assert (made.frames[1] - again.frames[1]).abs().max() > 0.1


def test_new_frames_of_sources_that_do_not_move_evenly_are_not_counted():
    pipeline = new_nano(0)
    keyframes, flows, targets, _ = to_device(moving_batch(), torch.device("cpu"))
    made = loop.forward(pipeline, keyframes, flows)
    wrong = targets.clone()
    wrong[:, 1] = 1 - wrong[:, 1]
    never = torch.zeros(1, dtype=torch.bool)
    here, there = (loop.loss_terms(pipeline, made, t, never) for t in (targets, wrong))
    for name in ("reconstruction", "spectrum", "consistency", "cfca"):
        torch.testing.assert_close(here[name], there[name])


def test_every_component_learns_and_the_loss_falls(config):
    trainer = loop.Trainer(config, lambda _: None)
    before = {
        name: [p.detach().clone() for p in getattr(trainer.pipeline, name).parameters()]
        for name in trainer.modules()
    }
    totals = [sum(trainer.train_step(moving_batch(), 0.3).values()) for _ in range(12)]
    assert totals[-1] < totals[0]
    for name, old in before.items():
        new = getattr(trainer.pipeline, name).parameters()
        assert any(not torch.equal(a, b) for a, b in zip(old, new, strict=True)), name


def test_the_latent_loss_teaches_the_step_and_does_not_pull_the_encoder_past_it():
    pipeline = tiny_pipeline()
    keyframes, _, targets, counts = to_device(moving_batch(), torch.device("cpu"))
    flows = neighbour_flows(keyframes[0]).unsqueeze(0)
    step = pipeline.transformer.proj_out.requires_grad_(True)
    encoder = pipeline.codec.to_latents[-1].requires_grad_(True)
    for gain in (1.0, 0.0):
        step.weight.data.mul_(gain)  # at 0 nothing passes through the step
        step.zero_grad()
        encoder.zero_grad()
        made = loop.forward(pipeline, keyframes, flows)
        loop.loss_terms(pipeline, made, targets, counts)["latent"].backward()
        assert bool(step.weight.grad.any())
        assert bool(encoder.weight.grad.any()) is (gain == 1.0)


@pytest.mark.parametrize(("first_step", "decay"), [(0, 0.1), (10**6, 0.8)])
def test_a_step_moves_the_average_towards_the_running_weights(config, first_step, decay):
    trainer = loop.Trainer(dataclasses.replace(config, ema=0.8), lambda _: None)
    trainer.step_number = (
        first_step  # at the start the average is mostly the beginning, so it moves fast
    )
    for name in trainer.modules():
        for parameter in getattr(trainer.average, name).parameters():
            parameter.data.add_(0.01)
    before = {
        name: [p.detach().clone() for p in getattr(trainer.average, name).parameters()]
        for name in trainer.modules()
    }
    trainer.train_step(moving_batch(), 0.3)
    for name, old in before.items():
        new = getattr(trainer.average, name).parameters()
        running = getattr(trainer.pipeline, name).parameters()
        for was, now, towards in zip(old, new, running, strict=True):
            torch.testing.assert_close(now, decay * was + (1 - decay) * towards.detach())


def test_each_loss_counts_by_its_weight(config, monkeypatch):
    slopes = {
        "reconstruction": 1, "decibels": 2, "spectrum": 3, "consistency": 4, "latent": 5, "cfca": 6
    }  # fmt: skip
    weights = {f"weight_{name}": 2.0**-n for n, name in enumerate((*slopes, "frequency"))}
    monkeypatch.setattr(loop, "forward", lambda *_: None)
    monkeypatch.setattr(
        loop,
        "loss_terms",
        lambda pipeline, *_: {
            name: slope * pipeline.cfca.outer_prior for name, slope in slopes.items()
        },
    )
    monkeypatch.setattr(
        loop.Trainer, "frequency_term", lambda trainer, *_: 7 * trainer.pipeline.cfca.outer_prior
    )
    trainer = loop.Trainer(dataclasses.replace(config, **weights), lambda _: None)
    norm = trainer.train_step(moving_batch(), 0.3)["gradient"]
    assert norm == pytest.approx(1 + 2 / 2 + 3 / 4 + 4 / 8 + 5 / 16 + 6 / 32 + 7 / 64)


def test_the_average_is_saved_for_use_and_a_run_goes_on_from_all_else(config, monkeypatch):
    monkeypatch.setattr(loop.Trainer, "validate", lambda *_: {"kept": 30.0, "new": 30.0})
    trainer = loop.Trainer(config, lambda _: None)
    trainer.train_step(moving_batch(), 0.3)
    for parameter in trainer.average.codec.parameters():
        parameter.data.add_(0.01)
    trainer.checkpoint({}, 1.0)
    saved, resumed = load_pipeline(config.out / "last"), loop.Trainer(config, lambda _: None)
    for name in trainer.modules():
        pairs = (
            (getattr(trainer.average, name), getattr(saved, name)),
            (getattr(trainer.average, name), getattr(resumed.average, name)),
            (getattr(trainer.pipeline, name), getattr(resumed.pipeline, name)),
        )
        for ours, theirs in pairs:
            assert all(map(torch.equal, ours.parameters(), theirs.parameters())), name
    ours, theirs = (run.optimizer.state_dict()["state"] for run in (trainer, resumed))
    assert ours.keys() == theirs.keys()
    for number, state in ours.items():
        for value in ("step", "exp_avg", "exp_avg_sq"):
            assert torch.equal(state[value], theirs[number][value])


@pytest.fixture
def one_number(monkeypatch):
    """Stands in for the network: what it makes depends on one trained number, and no other loss is counted."""
    torch.manual_seed(1)
    pattern = torch.rand(1, 3, 3, 32, 32)

    def forward(pipeline, *_):
        frames = pattern * (1 + 0.1 * pipeline.cfca.outer_prior)
        return loop.Made(frames=frames, fused=frames[:, 1], latents=frames)

    def loss_terms(pipeline, *_):
        return {"cfca": 0 * pipeline.cfca.outer_prior}

    monkeypatch.setattr(loop, "forward", forward)
    monkeypatch.setattr(loop, "loss_terms", loss_terms)


def step_with(config: TrainConfig, **changes) -> tuple[dict[str, float], float]:
    """Losses of one step, and the one number after it."""
    trainer = loop.Trainer(dataclasses.replace(config, **changes), lambda _: None)
    batch = moving_batch()
    small = dataclasses.replace(batch, targets=batch.targets[..., ::4, ::4])
    return trainer.train_step(small, 0.3), float(trainer.pipeline.cfca.outer_prior.detach())


def test_the_frequency_loss_teaches_unless_it_is_as_released(config, one_number):
    terms, plain = step_with(config)
    assert "frequency" not in terms
    terms, taught = step_with(config, weight_frequency=1.0)
    shown, released = step_with(config, weight_frequency=1.0, frequency_as_released=True)
    assert shown["frequency"] == terms["frequency"] > 0
    assert released == plain != taught


def test_what_the_frequency_loss_draws_follows_from_seed_and_step(config, one_number, monkeypatch):
    monkeypatch.setattr(frequency, "MAX_COUNTED", 9)
    same = [step_with(config, weight_frequency=1.0)[0]["frequency"] for _ in range(2)]
    other, _ = step_with(config, weight_frequency=1.0, seed=1)
    assert same[0] == same[1] != other["frequency"]


def test_the_frequency_loss_leaves_out_new_frames_that_do_not_count(config):
    trainer = loop.Trainer(config, lambda _: None)
    frames = torch.rand(1, 3, 3, 16, 16)
    made = loop.Made(frames=frames, fused=frames[:, 1], latents=frames)
    wrong_in_the_middle = frames.clone()
    wrong_in_the_middle[:, 1] = 1 - frames[:, 1]
    for is_counted in (True, False):
        loss = trainer.frequency_term(made, wrong_in_the_middle, torch.tensor([is_counted]))
        assert bool(loss > 0) is is_counted


def test_a_run_saves_logs_and_goes_on(config):
    lines: list[dict[str, float]] = []
    best = loop.train(config, lines.append)
    assert best == config.out / "best"
    load_pipeline(best)
    assert not list(best.rglob("*.pt"))
    logged = [json.loads(line) for line in (config.out / "log.jsonl").read_text().splitlines()]
    assert len(logged) == len(lines)
    assert logged[-1]["step"] >= 1
    assert np.isfinite(list(logged[-1].values())).all()
    card = (best / "MODEL_CARD.md").read_text(encoding="utf-8")
    reached = next(line for line in lines if f"- Steps: {line['step']} of 1 windows, 256 p" in card)
    assert f"- Data: the clips prepared in `{config.data}`\n- Licence: not said" in card
    assert f"| PSNR of kept frames' luma, dB | {reached['kept']:.4f} |" in card
    assert f"| PSNR of new frames' luma, dB | {reached['new']:.4f} |" in card
    assert '"learning_rate": 0.0005' in card
    resumed = loop.Trainer(config, lambda _: None)
    assert resumed.step_number == logged[-1]["step"]
    saved = load_pipeline(config.out / "last")
    for ours, theirs in zip(
        resumed.average.codec.parameters(), saved.codec.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_the_log_has_no_step_twice(config, monkeypatch):
    trainer = loop.Trainer(dataclasses.replace(config, minutes=1, save_seconds=40), lambda _: None)
    # At the start, before each of two steps, after each, when the second is saved, twice, and at the end.
    times = iter([0.0, 1.0, 20.0, 30.0, 50.0, 50.0, 50.0, 60.0, 60.0])
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: next(times)))
    monkeypatch.setattr(trainer, "train_step", lambda *_: {"cfca": 0.5})
    logged = []
    monkeypatch.setattr(
        trainer, "checkpoint", lambda means, seconds: logged.append((means, seconds))
    )
    trainer.train_until_time_is_up(iter([moving_batch()] * 2))
    assert logged == [({"cfca": 0.5}, 50)]


def test_a_run_that_goes_on_takes_the_learning_rate_that_is_asked_for(config):
    loop.train(config)
    resumed = loop.Trainer(dataclasses.replace(config, learning_rate=1e-6), lambda _: None)
    resumed.train_step(moving_batch(), 0.0 + config.warmup_fraction)
    assert max(group["lr"] for group in resumed.optimizer.param_groups) <= 1e-6


@pytest.mark.parametrize("num_bytes", [0, 1000, -1000])
def test_a_damaged_state_is_named_with_what_to_do(config, num_bytes):
    trainer = loop.Trainer(config, lambda _: None)
    trainer.checkpoint({}, 1.0)
    file = config.out / "last" / "trainer.pt"
    file.write_bytes(file.read_bytes()[:num_bytes])
    sentence = f"`{file}` is damaged; to go on from its weights put `{config.out}/last` in"
    with pytest.raises(ValueError, match=re.escape(sentence)):
        loop.Trainer(config, lambda _: None)


def test_best_is_measured_anew_where_the_clips_for_validation_are_others(config, monkeypatch):
    loop.train(config)
    best = load_pipeline(config.out / "best").codec.tail.weight
    before = loop.Trainer(config, lambda _: None).best
    measured = []

    def validate(self, pipeline):
        measured.append(pipeline.codec.tail.weight)
        return {"kept": 5.0, "new": 7.0}

    monkeypatch.setattr(loop.Trainer, "validate", validate)
    assert loop.Trainer(config, lambda _: None).best == before
    assert not measured
    monkeypatch.setattr(OneBatch, "described", ("harder",))
    trainer = loop.Trainer(config, lambda _: None)
    assert trainer.best == 6
    assert torch.equal(measured[0], best)
    trainer.checkpoint({}, 1.0)  # the same quality is no better
    assert loop.Trainer(config, lambda _: None).best == 6
    assert len(measured) == 2
    monkeypatch.setattr(OneBatch, "described", ("harder still",))
    (config.out / "best" / "codec" / "config.json").write_text("{", encoding="utf-8")
    assert loop.Trainer(config, lambda _: None).best == float("-inf")  # the next one replaces it
    shutil.rmtree(config.out / "best")
    assert loop.Trainer(config, lambda _: None).best == float("-inf")


def test_the_best_checkpoint_is_one_model_even_if_the_next_is_cut_off(config, monkeypatch):
    loop.train(config)
    best = {path: path.read_bytes() for path in (config.out / "best").rglob("*.safetensors")}
    trainer = loop.Trainer(config, lambda _: None)
    trainer.best = -1.0
    for name in trainer.modules():
        for parameter in getattr(trainer.average, name).parameters():
            parameter.data.add_(1e-3)

    def stop_in_between(source, target, **_options):
        (target / "codec").mkdir(parents=True, exist_ok=True)
        name = Path("codec", "diffusion_pytorch_model.safetensors")
        shutil.copyfile(source / name, target / name)
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copytree", stop_in_between)
    with pytest.raises(KeyboardInterrupt):
        trainer.checkpoint({}, 1.0)
    assert {path: path.read_bytes() for path in best} == best
