"""Low-rank updates: what learns, what they do to the weights, what is left. Runs where peft is installed."""

import dataclasses
import sys

import pytest
import torch

from diffst.checkpoint import load_pipeline
from diffst.training.lora import WAN_BLOCK, add_lora
from diffst.wan.training import loop
from diffst.wan.training.export import finished_part
from diffst.wan.training.stages import Cut, StageModel
from tests.diffst.wan.training.toy import sample, toy_batch, toy_pipeline


@pytest.fixture
def peft():
    return pytest.importorskip("peft", reason="needs `pip install diffst[train]`")


@pytest.fixture
def run(config, monkeypatch, peft):
    """From a transformer that says something: what is frozen at 0 would let nothing before it learn."""
    pipeline = toy_pipeline(monkeypatch)
    torch.nn.init.normal_(
        pipeline.transformer.proj_out.weight,
        std=0.1,
        generator=torch.Generator().manual_seed(0),
    )
    pipeline.save_pretrained(config.start_from)
    return dataclasses.replace(config, lora_rank=2, rate_factor=100)


def test_a_missing_package_is_told(monkeypatch):
    pipeline = toy_pipeline(monkeypatch)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ValueError, match=r"`lora_rank` needs peft.*pip install .diffst\[train\]"):
        add_lora(pipeline.transformer, 2, WAN_BLOCK)


def test_merged_weights_are_the_old_ones_and_the_product(peft, monkeypatch):
    transformer = toy_pipeline(monkeypatch).transformer
    before = {name: value.clone() for name, value in transformer.state_dict().items()}
    add_lora(transformer, 2, WAN_BLOCK)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in transformer.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(generator=generator)
    weights = {name: value.clone() for name, value in transformer.state_dict().items()}
    plain = finished_part(transformer, dict(weights), 2)
    made = plain.state_dict()
    assert made.keys() == before.keys()
    changed = {name for name, value in made.items() if not torch.equal(value, before[name])}
    assert changed == {
        f"blocks.{block}.{part}.weight"
        for block in range(transformer.config.num_layers)
        for part in (
            *(f"attn{n}.{to}" for n in (1, 2) for to in ("to_q", "to_k", "to_v", "to_out.0")),
            "ffn.net.0.proj",
            "ffn.net.2",
        )
    }
    for name in changed:
        root = name.removesuffix(".weight")
        update = weights[f"{root}.lora_B.default.weight"] @ weights[f"{root}.lora_A.default.weight"]
        torch.testing.assert_close(made[name], before[name] + update)


def test_only_updates_learn_and_the_folder_has_them_merged(run):
    before = load_pipeline(run.start_from)
    trainer = loop.WanTrainer(run, lambda _: None)
    names = {name for name in trainer.learning if name.startswith("transformer.")}
    assert names
    assert all("lora_" in name for name in names)
    assert any(name.startswith("vrg.") for name in trainer.learning)
    folder = trainer.run()
    assert not torch.equal(
        load_pipeline(folder).transformer.state_dict()["blocks.0.attn1.to_q.weight"],
        before.transformer.state_dict()["blocks.0.attn1.to_q.weight"],
    )


def test_the_merged_model_does_what_the_updates_did(run):
    run = dataclasses.replace(run, ema=0.0, steps=2)
    trainer = loop.WanTrainer(run, lambda _: None)
    folder = trainer.run()
    given = sample(toy_batch())
    with torch.no_grad():
        cut = Cut(first=0, run=range(2))
        running = trainer.model(given, cut)["latent"]
        merged = StageModel(1, load_pipeline(folder))(given, cut)["latent"]
    torch.testing.assert_close(merged, running)


def test_a_stopped_run_goes_on_to_the_last_digit(run, tmp_path):
    whole = dataclasses.replace(run, out=tmp_path / "whole")
    halves = dataclasses.replace(whole, out=tmp_path / "halves", steps=2)
    loop.train(whole)
    loop.train(halves)
    loop.train(dataclasses.replace(halves, steps=4))
    ours, theirs = (load_pipeline(each.out / "last").transformer for each in (whole, halves))
    for key, value in ours.state_dict().items():
        assert torch.equal(value, theirs.state_dict()[key]), key


def test_a_run_of_another_rank_is_not_gone_on_with(run):
    loop.train(dataclasses.replace(run, steps=1, lora_rank=0))
    with pytest.raises(ValueError, match="holds a run with `lora_rank = 0`"):
        loop.train(run)
