"""The training loop at Wan's size: windows in, pipeline folders out; resumes to the last digit, on any devices.

A step's windows and its random choices follow from the seed and the step's number alone. accelerate spreads a step over
devices: each process takes its share of the windows, and gradients are averaged.
"""

from __future__ import annotations

import json
import logging
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import DistributedType
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from diffst.training.folders import put_in_place, recovered
from diffst.training.stopping import told_where
from diffst.training.windows import Batch
from diffst.wan.training.card import model_card
from diffst.wan.training.clips import ClipBatch
from diffst.wan.training.config import WanTrainConfig
from diffst.wan.training.data import StepData, open_data
from diffst.wan.training.export import Weights, finished_pipeline
from diffst.wan.training.sharding import whole
from diffst.wan.training.stages import STAGES, Cut, Sample, StageModel
from diffst.wan.training.start import (
    GRADIENT_LIMIT,
    new_accelerator,
    starting_pipeline,
    wanted_options,
)
from diffst.wan.training.state import (
    RunState,
    load_state,
    read_average,
    read_state,
    write_state,
)
from diffst.wan.training.tracking import log_sample, start_trackers
from diffst.wan.training.validation import Validation, validate

log = logging.getLogger(__name__)

SAVED = ("last", "state")
"""Folders of a checkpoint, in the order in which they are put in place."""

Line = dict[str, float]
Report = Callable[[Line], None]


class WanTrainer:
    """One stage: the model being trained, its average, its optimiser, its log."""

    def __init__(self, config: WanTrainConfig, report: Report) -> None:
        """Start from `start_from`, or go on from `out/state` where a run was left.

        Raises:
            FileNotFoundError: `start_from` is no pipeline folder.
            ValueError: It holds another model than one of Wan's size; `out` holds another run, or a damaged one; or a
                device, package or network is missing.
        """
        self.config = config
        self.report = report
        stage = STAGES[config.stage]
        self.weights = stage.weights | config.weights
        self.accelerator = new_accelerator(config)
        windows = config.batch_windows * config.gradient_accumulation
        self.data = open_data(replace(config, batch_windows=windows), config.data)
        self.validation = (
            open_data(
                replace(config, batch_windows=1, image_share=0, data_workers=0), config.validation
            )
            if config.validation
            else None
        )
        self.state_folder = config.out / "state"
        left = self.left_state()
        self.step_number = left.step if left else 0
        self.seconds_before = left.seconds if left else 0.0
        self.pipeline = starting_pipeline(config, self.accelerator.device)
        options = wanted_options(config, self.accelerator.device)
        model = StageModel(config.stage, self.pipeline, options, bfloat16=config.bfloat16)
        if left:
            model.load_state_dict(read_average(self.state_folder), strict=False)
        groups: list[dict[str, Any]] = []
        self.rates = []
        for name, part in model.named_children():
            groups.append({"params": [p for p in part.parameters() if p.requires_grad]})
            self.rates.append(stage.rates[name] * config.rate_factor)
        self.learning = [name for name, p in model.named_parameters() if p.requires_grad]
        self.model, self.optimizer = self.accelerator.prepare(
            model, torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.95), weight_decay=1e-4)
        )
        self.average = EMAModel(self.parameters(), decay=config.ema)
        self.average.optimization_step = self.step_number
        if left:
            load_state(self.state_folder, self.accelerator)
        # accelerate counts batches, to know which one ends a step.
        self.accelerator.step = self.step_number * config.gradient_accumulation

    def left_state(self) -> RunState | None:
        """Where a run of this stage was left in `out`; what was aside when it was killed is in its place again."""
        config = self.config
        if self.accelerator.is_main_process:
            for name in SAVED:
                recovered(config.out / name)
        self.accelerator.wait_for_everyone()
        left = read_state(self.state_folder)
        if left and left.stage != config.stage:
            raise ValueError(
                f"`{config.out}` holds a run of stage {left.stage}; "
                f"put `{config.out / 'last'}` in `start_from` and choose another `out`"
            )
        if left and left.lora_rank != config.lora_rank:
            raise ValueError(
                f"`{config.out}` holds a run with `lora_rank = {left.lora_rank}`; choose another `out`"
            )
        return left

    def parameters(self) -> list[nn.Parameter]:
        """Those that learn."""
        return [p for p in self.model.parameters() if p.requires_grad]

    def run(self) -> Path:
        """Train until the stage ends; returns the folder of the model."""
        config, accelerator = self.config, self.accelerator
        config.out.mkdir(parents=True, exist_ok=True)
        batches = self.data.batches(
            first_step=self.step_number,
            process=accelerator.process_index,
            num_processes=accelerator.num_processes,
        )
        start_trackers(accelerator, config, self.step_number)
        if accelerator.is_main_process:
            warn_of_left_out(config.data, self.data)
            warn_of_left_out(config.validation, self.validation)
        start = time.monotonic()
        values: list[Line] = []
        while self.step_number < config.steps:
            values.append(self.train_step(next(batches)))
            accelerator.log(values[-1], step=self.step_number)
            if self.step_number % config.save_steps == 0 or self.step_number == config.steps:
                means = {name: sum(v[name] for v in values) / len(values) for name in values[0]}
                self.checkpoint(means, self.seconds_before + time.monotonic() - start)
                values = []
        accelerator.end_training()
        return config.out / "last"

    def train_step(self, batch: Batch | ClipBatch) -> Line:
        """One step of the optimiser on this process's windows of the step, `batch_windows` at a time.

        Returns:
            Over the windows of all processes: each loss, their weighted sum; and the gradient's norm.

        Raises:
            FloatingPointError: The gradient is not finite.
        """
        config, accelerator = self.config, self.accelerator
        rise = min(1.0, (self.step_number + 1) / config.warmup_steps)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * rise
        sample = Sample.of(batch, accelerator.device)
        cut = self.next_cut(sample)
        shown: list[Tensor] = []
        self.optimizer.zero_grad(set_to_none=True)
        for part in sample.parts(config.gradient_accumulation):
            torch.manual_seed(config.seed + self.step_number)  # of losses that draw
            with accelerator.accumulate(self.model):
                terms: dict[str, Tensor] = self.model(part, cut)
                total = torch.stack([self.weights[name] * term for name, term in terms.items()])
                accelerator.backward(total.sum())
            shown.append(torch.stack([*terms.values(), total.sum()]).detach())
        given = accelerator.clip_grad_norm_(self.parameters(), GRADIENT_LIMIT)
        norm = float(whole(torch.as_tensor(given)))  # DeepSpeed gives a number
        if not isfinite(norm):
            raise FloatingPointError(f"training diverged at step {self.step_number}")
        self.optimizer.step()
        self.average.step(self.parameters())
        self.step_number += 1
        means = accelerator.reduce(torch.stack(shown).mean(0), reduction="mean").tolist()
        return dict(zip([*terms, "total"], means, strict=True)) | {"gradient": norm}

    def next_cut(self, sample: Sample) -> Cut:
        """Which latents this step trains on, the same on all processes; a picture has but one."""
        num_latents = self.config.latents if sample.targets.shape[1] > 1 else 1
        return Cut.of_step(self.config.seed, self.step_number, num_latents, self.config.run_latents)

    def averaged_weights(self) -> Weights:
        """All weights of the model's parts, the average in the place of those that learn, on the CPU.

        Every process calls it, since each may hold a part; what the first one gets is complete. Where each holds all,
        the others get nothing: on one machine they would fill its memory with copies that nobody reads.
        """
        accelerator = self.accelerator
        is_spread = accelerator.distributed_type == DistributedType.FSDP
        if not (is_spread or accelerator.is_main_process):
            return {}
        averages = zip(self.learning, self.average.shadow_params, strict=True)
        learnt = {name: whole(value) for name, value in averages}
        given = accelerator.get_state_dict(self.model)
        kept = {name: whole(value) for name, value in given.items() if name not in learnt}
        return kept | learnt

    def checkpoint(self, means: Line, seconds: float) -> None:
        """Write `last/`, the model as it would be used, and `state/`, to go on from; measure it; log one line."""
        config, accelerator = self.config, self.accelerator
        unfinished = config.out / "unfinished"
        weights = self.averaged_weights()
        state = RunState(
            stage=config.stage, lora_rank=config.lora_rank, step=self.step_number, seconds=seconds
        )
        average = {name: weights[name] for name in self.learning if name in weights}
        write_state(unfinished / "state", state, average, accelerator)
        if accelerator.is_main_process:
            measured = self.export(weights, unfinished / "last")
            figures = measured.figures if measured else {}
            # A run that is killed in between goes on from the state before, and makes the same model again.
            for name in SAVED:
                put_in_place(unfinished / name, config.out / name)
            unfinished.rmdir()
            accelerator.log(figures, step=self.step_number)
            if measured:
                log_sample(accelerator, config.out / "samples", measured, self.step_number)
            line = {"step": self.step_number, "seconds": round(seconds), **means, **figures}
            with (config.out / "log.jsonl").open("a", encoding="utf-8") as file:
                file.write(json_line(line))
            self.report(line)
        accelerator.wait_for_everyone()

    def export(self, weights: Weights, folder: Path) -> Validation | None:
        """Write the model folder with its card; returns what the model was measured to do, where it shall be."""
        config, accelerator = self.config, self.accelerator
        finished = finished_pipeline(
            self.pipeline,
            weights,
            lora_rank=config.lora_rank,
            trained=self.pipeline.config.trained or config.stage > 0,
        )
        finished.save_pretrained(folder)
        measured = None
        if self.validation:
            finished.to(accelerator.device)
            with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=config.bfloat16):
                measured = validate(finished, self.validation, config.validation_windows)
        text = model_card(
            config,
            step=self.step_number,
            num_processes=accelerator.num_processes,
            figures=measured.figures if measured else {},
        )
        (folder / "README.md").write_text(text, encoding="utf-8")
        return measured


def warn_of_left_out(path: Path | None, source: StepData | None) -> None:
    """Log how many clips of a list are used, where not all are."""
    for sentence in source.left_out if source is not None else ():
        log.warning("`%s`: %s", path, sentence)


def json_line(line: Line) -> str:
    """A line of the log; JSON has no infinity, as the PSNR of equal pictures, and no NaN: both become null."""
    known = {name: value if isfinite(value) else None for name, value in line.items()}
    return json.dumps(known, allow_nan=False) + "\n"


def train(config: WanTrainConfig, report: Report = lambda _: None) -> Path:
    """Run one stage to its end, from where it was left; on several devices, one such call in each process.

    Args:
        config: The run.
        report: Given, in the first process, each line of the log: step, seconds, mean of each loss and of the
            gradient's norm since the last, and what the model was measured to do.

    Returns:
        The folder of the model.

    Raises:
        FileNotFoundError: `start_from` is no pipeline folder.
        ValueError: Weights, `out` or data do not fit the run, or something it needs is missing.
        StoppedError: It cannot go on after it began.
        FloatingPointError: A gradient is not finite.
    """
    with warnings.catch_warnings():
        # Norms keep float32 weights under autocast, as they shall; torch says on stderr that this is slower.
        warnings.filterwarnings("ignore", "Mismatch dtype between input and weight")
        trainer = WanTrainer(config, report)
        with told_where(lambda: trainer.step_number):
            return trainer.run()
