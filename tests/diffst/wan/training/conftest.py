"""A toy run: two windows, a tiny pipeline, one process on the CPU."""

import pytest
from accelerate.state import AcceleratorState

from diffst.wan.training import loop
from diffst.wan.training.config import WanTrainConfig
from tests.diffst.wan.training.toy import ToyData, toy_batch, toy_pipeline


@pytest.fixture(autouse=True)
def fresh_accelerate():
    """accelerate keeps what it found out, as the precision, for as long as the process lives."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def config(tmp_path, monkeypatch) -> WanTrainConfig:
    toy_pipeline(monkeypatch).save_pretrained(tmp_path / "start")
    monkeypatch.setattr(loop, "open_data", lambda config, _: ToyData(toy_batch(), config.seed))
    return WanTrainConfig(
        data=tmp_path,
        out=tmp_path / "out",
        start_from=tmp_path / "start",
        stage=1,
        steps=4,
        frames=5,
        crop=16,
        batch_windows=2,
        warmup_steps=2,
        rate_factor=10,
        save_steps=2,
        device="cpu",
        bfloat16=False,
    )
