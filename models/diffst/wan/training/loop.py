"""The training loop at Wan's size: windows in, pipeline folders out; resumes to the last digit.

A step's windows and its random choices follow from the seed and the step's number alone, so there
is no state of random numbers to save.
"""

from __future__ import annotations

import copy
import json
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from diffst.checkpoint import load_pipeline
from diffst.training.dataset import WindowDataset
from diffst.training.windows import Batch
from diffst.wan.pipeline import DiffSTWanPipeline
from diffst.wan.training.config import WanTrainConfig
from diffst.wan.training.stages import STAGES, Sample, loss_terms

GRADIENT_LIMIT = 0.1  # DOVE's

Line = dict[str, float]
Report = Callable[[Line], None]


class WanTrainer:
    """One stage: the model being trained, its average, its optimiser, its log."""

    def __init__(self, config: WanTrainConfig, report: Report) -> None:
        """Start from `start_from`, or from `out/last` where a run was left.

        Raises:
            FileNotFoundError: `start_from` is no pipeline folder.
            ValueError: It holds another model than one of Wan's size; or `out` holds a run of another stage.
        """
        self.config = config
        self.report = report
        self.device = torch.device(config.device)
        self.weights = STAGES[config.stage].weights | config.weights
        self.step_number = 0
        self.seconds_before = 0.0
        last = config.out / "last"
        resumed = (last / "trainer.pt").is_file()
        average = load_pipeline(last if resumed else config.start_from)
        if not isinstance(average, DiffSTWanPipeline):
            raise ValueError(f"`{config.start_from}` holds no pipeline of Wan's size")
        for name, part in average.components.items():
            if part is not None:
                average.components[name].requires_grad_(False).eval()
        average.to(self.device)
        self.average = average
        self.rates = {
            name: rate
            for name, rate in STAGES[config.stage].rates.items()
            if average.components[name] is not None
        }
        self.fix_constants()
        self.pipeline = self.trained_copy()
        groups: list[dict[str, Any]] = [
            {"params": list(self.part(name).parameters()), "rate": rate * config.rate_factor}
            for name, rate in self.rates.items()
        ]
        self.parameters = [parameter for group in groups for parameter in group["params"]]
        self.optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.95), weight_decay=1e-4)
        if resumed:
            self.restore(last / "trainer.pt")

    def fix_constants(self) -> None:
        """The timestep and sigma of the run; and after stage 0 the folder says that it was trained."""
        given = self.average.config
        for name in ("timestep", "sigma"):
            if (value := getattr(self.config, name)) is not None:
                self.average.register_to_config(**{name: value})
        self.average.register_to_config(trained=given.trained or self.config.stage > 0)

    def trained_copy(self) -> DiffSTWanPipeline:
        """A pipeline with its own weights where the stage trains, and the average's elsewhere."""
        own = {name: copy.deepcopy(self.average.components[name]) for name in self.rates}
        for part in own.values():
            part.requires_grad_(True).train()
        given = self.average.config
        pipeline = DiffSTWanPipeline(
            **{**self.average.components, **own}, timestep=given.timestep, sigma=given.sigma
        )
        if self.config.checkpointing and "transformer" in own:
            pipeline.transformer.enable_gradient_checkpointing()
        return pipeline

    def part(self, name: str) -> nn.Module:
        """A component that is being trained."""
        module: nn.Module = self.pipeline.components[name]
        return module

    def restore(self, path: Path) -> None:
        """Go on from a saved state: the running weights, the optimiser, the counters."""
        state = torch.load(path, weights_only=True, map_location=self.device)
        if state["stage"] != self.config.stage:
            raise ValueError(
                f"`{self.config.out}` holds a run of stage {state['stage']}; "
                f"put `{path.parent}` in `start_from` and choose another `out`"
            )
        for name in self.rates:
            self.part(name).load_state_dict(state["weights"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step_number, self.seconds_before = state["step"], state["seconds"]

    def run(self) -> Path:
        """Train until the stage ends; returns the folder of the model."""
        config = self.config
        config.out.mkdir(parents=True, exist_ok=True)
        data = WindowDataset(config.data, lr_crop=config.crop, num_keyframes=config.keyframes)
        start = time.monotonic()
        values: list[Line] = []
        while self.step_number < config.steps:
            values.append(self.train_step(data))
            if self.step_number % config.save_steps == 0 or self.step_number == config.steps:
                means = {name: sum(v[name] for v in values) / len(values) for name in values[0]}
                self.checkpoint(means, time.monotonic() - start)
                values = []
        return config.out / "last"

    def train_step(self, data: WindowDataset) -> Line:
        """One step of the optimiser; the value of each loss, their weighted sum, the gradient's norm.

        Raises:
            FloatingPointError: The gradient is not finite.
        """
        config = self.config
        rng = np.random.default_rng((config.seed, self.step_number))
        batch: Batch = data.batch(config.batch_windows, rng)
        first = int(rng.integers(config.latents - config.run_latents + 1))
        rise = min(1.0, (self.step_number + 1) / config.warmup_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * rise
        sample = Sample.of(batch, self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.bfloat16):
            run = range(first, first + config.run_latents)
            terms = loss_terms(config.stage, self.pipeline, sample, run)
        total = torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, GRADIENT_LIMIT)
        if not torch.isfinite(norm):
            raise FloatingPointError(f"training diverged at step {self.step_number}")
        self.optimizer.step()
        self.update_average()
        self.step_number += 1
        return {name: float(term.detach()) for name, term in terms.items()} | {
            "total": float(total.detach()),
            "gradient": float(norm),
        }

    @torch.no_grad()
    def update_average(self) -> None:
        """Move the averaged weights; faster at the start of a run, when they are mostly the beginning."""
        decay = min(self.config.ema, (1 + self.step_number) / (10 + self.step_number))
        for name in self.rates:
            averaged = list(self.average.components[name].parameters())
            running = [p.detach() for p in self.part(name).parameters()]
            torch._foreach_lerp_(averaged, running, 1 - decay)

    def checkpoint(self, means: Line, seconds: float) -> None:
        """Write `last/`, a model folder with the averaged weights and the state to go on from; log one line."""
        config = self.config
        last, unfinished = config.out / "last", config.out / "unfinished"
        total_seconds = self.seconds_before + seconds
        state = {
            "weights": {name: self.part(name).state_dict() for name in self.rates},
            "optimizer": self.optimizer.state_dict(),
            "stage": config.stage,
            "step": self.step_number,
            "seconds": total_seconds,
        }
        # A run that is killed while it saves goes on from the checkpoint before.
        self.average.save_pretrained(unfinished)
        torch.save(state, unfinished / "trainer.pt")
        shutil.rmtree(last, ignore_errors=True)
        unfinished.rename(last)
        line: Line = {"step": self.step_number, "seconds": round(total_seconds), **means}
        with (config.out / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
        self.report(line)


def train(config: WanTrainConfig, report: Report = lambda _: None) -> Path:
    """Run one stage to its end, from where it was left.

    Args:
        config: The run.
        report: Given each line of the log: step, seconds, mean of each loss and of the gradient's norm since the last.

    Returns:
        The folder of the model.

    Raises:
        FileNotFoundError: `start_from` is no pipeline folder.
        ValueError: Weights, `out` or data do not fit the run.
        FloatingPointError: A gradient is not finite.
    """
    with warnings.catch_warnings():
        # Norms keep float32 weights under autocast, as they shall; torch says on stderr that this is slower.
        warnings.filterwarnings("ignore", "Mismatch dtype between input and weight")
        return WanTrainer(config, report).run()
