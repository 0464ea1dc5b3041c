"""The training loop of STAR: windows in, a pipeline folder out; resumes to the last digit.

A step's clips, noise and dropout follow from the seed and the step's number alone, so there is no
state of random numbers to save.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from diffst.star.training.cogvideox import CogVideoXLearner
from diffst.star.training.config import CogVideoXTrainConfig, StarTrainConfig, UNetTrainConfig
from diffst.star.training.objective import (
    Learner,
    Pair,
    frequency_loss,
    learning,
    pairs_of,
    question_of,
    velocity_loss,
)
from diffst.star.training.unet import UNetLearner
from diffst.training.dataset import WindowDataset
from diffst.training.folders import put_in_place, recovered
from diffst.training.saved import read_saved
from diffst.training.stopping import told_where
from diffst.upscaler import choose_device

GRADIENT_LIMIT = 1.0  # norm; the published training's, as AdamW's numbers below are
BETAS, WEIGHT_DECAY = (0.9, 0.999), 1e-2
STATE_FILE = "trainer.pt"

log = logging.getLogger(__name__)

Line = dict[str, float]
Report = Callable[[Line], None]


def learner_of(config: StarTrainConfig, device: torch.device) -> Learner:
    """What a run trains.

    Raises:
        FileNotFoundError: `start_from` is no pipeline folder.
        ValueError: It holds another model, the prompt cannot be encoded, or a package is missing.
    """
    if isinstance(config, CogVideoXTrainConfig):
        return CogVideoXLearner(config, device)
    assert isinstance(config, UNetTrainConfig)
    return UNetLearner(config, device)


class StarTrainer:
    """A run: the network that is being trained, the optimiser, the log."""

    def __init__(self, config: StarTrainConfig, report: Report) -> None:
        """Start from `start_from`, and go on where a run in `out` was left.

        Raises:
            FileNotFoundError: `start_from` is no pipeline folder.
            ValueError: As `learner_of`, there is no such device, no clip that holds a window, or `out` holds a run of
                other parts or a damaged one.
        """
        self.config = config
        self.report = report
        self.device = choose_device(config.device)
        self.step_number = 0
        self.seconds_before = 0.0
        self.data = WindowDataset(config.data, lr_crop=config.crop, num_keyframes=config.keyframes)
        for sentence in self.data.left_out:
            log.warning("`%s`: %s", config.data, sentence)
        self.learner = learner_of(config, self.device)
        self.weights = learning(self.learner.network)
        if config.checkpointing:
            self.learner.network.enable_gradient_checkpointing()
            self.learner.vae.enable_gradient_checkpointing()
        self.optimizer = torch.optim.AdamW(
            self.weights.values(), lr=config.learning_rate, betas=BETAS, weight_decay=WEIGHT_DECAY
        )
        left = recovered(config.out / "last") / STATE_FILE
        if left.is_file():
            self.restore(left)

    def restore(self, path: Path) -> None:
        """Go on from a saved state: weights, the optimiser, the counters."""
        state = read_saved(path, self.device)
        shapes = {name: weight.shape for name, weight in self.weights.items()}
        if {name: weight.shape for name, weight in state["weights"].items()} != shapes:
            raise ValueError(
                f"`{self.config.out}` holds a run that trains other parts; "
                f"put `{path.parent}` in `start_from` and choose another `out`"
            )
        self.learner.network.load_state_dict(state["weights"], strict=False)
        self.optimizer.load_state_dict(state["optimizer"])
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate
        self.step_number, self.seconds_before = state["step"], state["seconds"]

    def run(self) -> None:
        """Train until the last step."""
        config = self.config
        config.out.mkdir(parents=True, exist_ok=True)
        start = time.monotonic()
        values: list[Line] = []
        while self.step_number < config.steps:
            values.append(self.train_step(self.data))
            seconds = self.seconds_before + time.monotonic() - start
            is_saved = self.step_number % config.save_steps == 0 or self.step_number == config.steps
            if is_saved:
                self.save(seconds)
            if is_saved or self.step_number % config.log_steps == 0:
                self.log(values, seconds)
                values = []

    def train_step(self, data: WindowDataset) -> Line:
        """One step of the optimiser; the mean of each loss over the step's clips, and the gradient's norm.

        Raises:
            FloatingPointError: The gradient is not finite.
        """
        config = self.config
        rng = np.random.default_rng((config.seed, self.step_number))
        pairs = pairs_of(data.batch(config.batch_clips, rng), config.size, self.device)
        torch.manual_seed(int(rng.integers(2**63)))
        self.optimizer.zero_grad(set_to_none=True)
        sums: Line = {}
        for pair in pairs:
            terms = self.loss_terms(pair)
            total = terms["velocity"] + config.weight_frequency * terms.get("frequency", 0)
            (total / len(pairs)).backward()
            for name, term in {**terms, "total": total}.items():
                sums[name] = sums.get(name, 0.0) + float(term.detach()) / len(pairs)
        norm = nn.utils.clip_grad_norm_(self.weights.values(), GRADIENT_LIMIT)
        if not torch.isfinite(norm):
            raise FloatingPointError(f"training diverged at step {self.step_number}")
        self.optimizer.step()
        self.step_number += 1
        return sums | {"gradient": float(norm)}

    def loss_terms(self, pair: Pair) -> dict[str, Tensor]:
        """Each loss of a clip, not weighted."""
        config = self.config
        question = question_of(self.learner, pair)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.bfloat16):
            said = self.learner.answer(question)
            terms = {"velocity": velocity_loss(said, question)}
            if config.weight_frequency:
                terms["frequency"] = frequency_loss(
                    self.learner, said, question, pair, as_released=config.frequency_as_released
                )
        return terms

    def save(self, seconds: float) -> None:
        """Write `last/`, a model folder and the state to go on from, and nothing under that name until it is whole."""
        last, unfinished = self.config.out / "last", self.config.out / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        self.learner.save(unfinished)
        state = {
            "weights": {name: weight.detach() for name, weight in self.weights.items()},
            "optimizer": self.optimizer.state_dict(),
            "step": self.step_number,
            "seconds": seconds,
        }
        torch.save(state, unfinished / STATE_FILE)
        put_in_place(unfinished, last)

    def log(self, values: list[Line], seconds: float) -> None:
        """Write and tell the means of some steps."""
        means = {name: sum(value[name] for value in values) / len(values) for name in values[0]}
        line: Line = {"step": self.step_number, "seconds": round(seconds), **means}
        with (self.config.out / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        self.report(line)


def train(config: StarTrainConfig, report: Report = lambda _: None) -> Path:
    """Run to the last step, from where it was left.

    Args:
        config: The run.
        report: Given each line of the log: step, seconds, mean of each loss and of the gradient's norm since the last.

    Returns:
        The folder of the model.

    Raises:
        FileNotFoundError: `start_from` is no pipeline folder.
        ValueError: Weights, `out` or data do not fit the run, or a package or the device is missing.
        StoppedError: It cannot go on after it began.
        FloatingPointError: A gradient is not finite.
    """
    trainer = StarTrainer(config, report)
    with told_where(lambda: trainer.step_number):
        trainer.run()
    return config.out / "last"
