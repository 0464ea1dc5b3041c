"""The training loop: windows in, pipeline folders out. Stops by itself when its time is up, resumes where it was."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice
from math import cos, inf, log10, pi
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffst.checkpoint import load_pipeline, new_nano
from diffst.folders import INDEX_FILE
from diffst.fusion import fuse
from diffst.pipeline import DiffSTPipeline
from diffst.training import losses
from diffst.training.card import CARD_NAME, FIGURES, nano_card
from diffst.training.config import TrainConfig
from diffst.training.dataset import WindowDataset
from diffst.training.folders import put_in_place, recovered
from diffst.training.frequency import MAX_TIMESTEP, dynamic_frequency
from diffst.training.saved import read_saved
from diffst.training.stopping import told_where
from diffst.training.windows import Batch, to_device
from diffst.upscaler import choose_device

KEYFRAMES = 6  # in a window; the targets lie at its middle: keyframe 2, the instant 2.5, keyframe 3
TARGETS = ((2, 0.0), (2, 0.5), (3, 0.0))
# About the usual norm; at 0.1 a run blew up after 4,300 steps, at 1.0 after 1,600.
GRADIENT_LIMIT = 0.03
RUNAWAY_NORM = 100.0  # of a gradient; a run that reaches it is lost, though its numbers may stay finite for long
SLOW_PARTS = ("vrg", "transformer")  # they steer everything else, so they move more slowly
SLOW_RATE = 0.25

log = logging.getLogger(__name__)

Line = dict[str, float]
Report = Callable[[Line], None]
VALIDATION_WINDOWS = 48
VALIDATION_BATCH = 8
VALIDATION_SEED = 12345


@dataclass(frozen=True, kw_only=True)
class Made:
    """What the model made of a batch of B windows."""

    frames: Tensor
    """(B, 3, 3, 4h, 4w) float32."""
    fused: Tensor
    """(B, 3, h, w): CFCA's frame at the new instant."""
    latents: Tensor
    """(2 B, C, h/16, w/16), the keyframes', after the one step. Gradients pass through the step, not past it: the
    encoder is trained too, and pulled towards its own latents of the undamaged clip, which are a little larger, it
    grows without end."""


def forward(pipeline: DiffSTPipeline, keyframes: Tensor, flows: Tensor) -> Made:
    """The pipeline's journey for a batch of windows, with gradients.

    The windows are laid end to end as one clip; the targets lie so far inside that none sees its neighbour.

    Args:
        pipeline: Its components.
        keyframes: (B, K, 3, h, w) float32 in [0, 1].
        flows: (B, K - 1, 2, 2, h, w) float32.
    """
    batch, count = keyframes.shape[:2]
    gap = flows.new_zeros(batch, 1, *flows.shape[2:])
    joined = torch.cat((flows, gap), dim=1).flatten(0, 1)[:-1]
    instants = [(w * count + n, alpha) for w in range(batch) for n, alpha in TARGETS]
    frames = keyframes.flatten(0, 1)
    kept = [(n, 0.0) for n, alpha in instants if alpha == 0]
    new = [(n, alpha) for n, alpha in instants if alpha > 0]
    context = pipeline.cfca.keyframe_context(frames, joined, [n for n, _ in kept])
    guidance = pipeline.guidance(keyframes)
    height, width = keyframes.shape[-2:]
    own = frames[[n for n, _ in kept]]
    encoded = pipeline.codec.encode(own, context, (4 * height, 4 * width))
    # As at inference, only the convolutions run in a short type.
    with torch.autocast(keyframes.device.type, enabled=False):
        latents = pipeline.step(encoded.latents, guidance.float())
    finished = pipeline.codec.decode(latents, encoded).unflatten(0, (batch, -1))
    ways = pipeline.cfca.ways(frames, joined, new)
    between = [
        fuse_inner(pair, *found)
        for pair, *found in zip(finished, ways.paths, ways.shares, strict=True)
    ]
    return Made(
        frames=torch.stack((finished[:, 0], torch.stack(between), finished[:, 1]), dim=1),
        fused=pipeline.cfca(frames, joined, new),
        latents=latents - encoded.latents + encoded.latents.detach(),
    )


def fuse_inner(pair: Tensor, paths: Tensor, shares: Tensor) -> Tensor:
    """The new frame between two finished keyframes (2, 3, 4h, 4w), without the ways to those beyond.

    These count a seventh; to make them too would double a step.
    """
    inner = shares[:4] / shares[:4].sum(0, keepdim=True)
    return fuse([pair[0], pair[1], pair[0], pair[1]], paths[:4], inner)


def loss_terms(
    pipeline: DiffSTPipeline, made: Made, targets: Tensor, interpolate: Tensor
) -> dict[str, Tensor]:
    """Each loss of a batch; new frames count only where the source moves at its full rate.

    Args:
        pipeline: For the latents of the undamaged clip.
        made: See `forward`.
        targets: (B, 3, 3, 4h, 4w) float32 in [0, 1].
        interpolate: (B,) bool.
    """
    error = losses.to_ycbcr(made.frames - targets) * counted(interpolate)
    clean = F.interpolate(
        targets.flatten(0, 1), scale_factor=0.25, mode="bicubic", antialias=True
    ).clamp(0, 1)
    of_new = torch.tensor([alpha > 0 for _, alpha in TARGETS]).repeat(len(targets))
    with torch.no_grad():
        kept = clean[~of_new]
        same = kept.unsqueeze(1).expand(-1, 4, -1, -1, -1)
        true_latents = pipeline.codec.encode(kept, same, tuple(kept.shape[-2:])).latents
    fused_error = losses.to_ycbcr(made.fused - clean[of_new]) * interpolate.view(-1, 1, 1, 1)
    return {
        "reconstruction": losses.reconstruction(error),
        "decibels": losses.decibels(error),
        "spectrum": losses.spectrum(error),
        "consistency": losses.consistency(error),
        "latent": losses.latent(made.latents, true_latents),
        "cfca": losses.charbonnier(fused_error),
    }


def counted(interpolate: Tensor) -> Tensor:
    """Which frames count, (B, 3, 1, 1, 1) bool: kept ones always, the new one where the source moves evenly, (B,)."""
    kept = torch.tensor([alpha == 0 for _, alpha in TARGETS], device=interpolate.device)
    return (interpolate.view(-1, 1) | kept)[:, :, None, None, None]


class Trainer:
    """One run: the model being trained, its average, its optimiser, its log."""

    def __init__(self, config: TrainConfig, report: Report) -> None:
        """Start anew, from `start_from`, or from `out/last` where a run was left.

        Raises:
            ValueError: There is no such device, no clip that holds a window, or what was left is damaged.
        """
        self.report = report
        torch.set_num_threads(config.threads)
        self.config = config
        self.device = choose_device(config.device)
        self.step_number = 0
        self.seconds_before = 0.0
        self.best = -inf
        self.data = WindowDataset(
            config.data,
            lr_crop=config.crop,
            num_keyframes=KEYFRAMES,
            faded_share=config.faded_share,
            seed=config.seed,
        )
        self.validation = WindowDataset(
            config.validation, lr_crop=config.crop, num_keyframes=KEYFRAMES, seed=VALIDATION_SEED
        )
        last, _ = (recovered(config.out / name) for name in ("last", "best"))
        if (last / INDEX_FILE).is_file():
            self.average = load_pipeline(last)
        elif config.start_from is not None:
            self.average = load_pipeline(config.start_from)
        else:
            self.average = new_nano(config.seed)
        self.pipeline = deepcopy(self.average)
        for pipeline in (self.average, self.pipeline):
            pipeline.to(self.device)
            pipeline.codec.to(memory_format=torch.channels_last)
        for name in self.modules():
            getattr(self.pipeline, name).requires_grad_(True).train()
            getattr(self.average, name).requires_grad_(False)
        # Peak rates, one a component; not in the optimiser's groups, where a resumed run would find its old ones.
        self.rates = [
            config.learning_rate * (SLOW_RATE if name in SLOW_PARTS else 1.0)
            for name in self.modules()
        ]
        groups = [list(getattr(self.pipeline, name).parameters()) for name in self.modules()]
        self.parameters = [parameter for group in groups for parameter in group]
        self.optimizer = torch.optim.AdamW(
            [{"params": group} for group in groups], betas=(0.9, 0.99), weight_decay=1e-4
        )
        if (last / "trainer.pt").is_file():
            self.restore(last / "trainer.pt")

    def modules(self) -> tuple[str, ...]:
        """Names of the trained components, all there are."""
        parts = self.average.components.items()
        return tuple(name for name, part in parts if isinstance(part, nn.Module))

    def restore(self, path: Path) -> None:
        """Go on from a saved state: the running weights, the optimiser, the counters."""
        state = read_saved(path, self.device)
        for name in self.modules():
            getattr(self.pipeline, name).load_state_dict(state["weights"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step_number, self.seconds_before = state["step"], state["seconds"]
        self.best = self.left_best(state)

    def left_best(self, state: dict[str, Any]) -> float:
        """Quality of the model in `best/` on the clips that are measured on now; below any where there is none."""
        best = self.config.out / "best"
        if not (best / INDEX_FILE).is_file():
            return -inf
        if state.get("validation") == self.validation.described:
            return float(state["best"])
        try:
            pipeline = load_pipeline(best)
        except (ValueError, FileNotFoundError) as error:
            log.warning("`%s` is replaced at the next checkpoint: %s", best, error)
            return -inf
        log.warning("`%s` is measured anew, on the clips of `%s`", best, self.config.validation)
        return quality(self.validate(pipeline.to(self.device)))

    def run(self) -> Path:
        """Train until the time is up; returns the folder of the best checkpoint."""
        config = self.config
        config.out.mkdir(parents=True, exist_ok=True)
        for folder, data in ((config.data, self.data), (config.validation, self.validation)):
            for sentence in data.left_out:
                log.warning("`%s`: %s", folder, sentence)
        self.train_until_time_is_up(
            self.data.batches(
                config.batch_windows,
                first_step=self.step_number,
                num_workers=config.data_workers,
            )
        )
        return config.out / "best"

    def train_until_time_is_up(self, batches: Iterator[Batch]) -> None:
        """Step after step, with a checkpoint every `save_seconds` and one at the end."""
        config = self.config
        start = saved = time.monotonic()
        sums: dict[str, float] = {}
        count = 0
        while (fraction := (time.monotonic() - start) / (config.minutes * 60)) < 1:
            for name, value in self.train_step(next(batches), fraction).items():
                sums[name] = sums.get(name, 0.0) + value
            count += 1
            if time.monotonic() - saved >= config.save_seconds:
                means = {name: value / count for name, value in sums.items()}
                self.checkpoint(means, time.monotonic() - start)
                saved, sums, count = time.monotonic(), {}, 0
        if count or saved == start:  # else the last step has its checkpoint
            means = {name: value / count for name, value in sums.items()}
            self.checkpoint(means, time.monotonic() - start)

    def train_step(self, batch: Batch, fraction: float) -> dict[str, float]:
        """One step of the optimiser; the value of each loss."""
        config = self.config
        rise = min(1.0, fraction / config.warmup_fraction) if config.warmup_fraction > 0 else 1.0
        part = rise * (0.01 + 0.99 * 0.5 * (1 + cos(pi * fraction)))
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * part
        keyframes, flows, targets, interpolate = to_device(batch, self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.bfloat16):
            made = forward(self.pipeline, keyframes, flows)
        terms = loss_terms(self.pipeline, made, targets, interpolate)
        if config.weight_frequency:
            torch.manual_seed(config.seed + self.step_number)  # it draws
            terms["frequency"] = self.frequency_term(made, targets, interpolate)
        total = sum(getattr(config, f"weight_{name}") * term for name, term in terms.items())
        assert isinstance(total, Tensor)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, GRADIENT_LIMIT)
        if not norm < RUNAWAY_NORM:
            raise FloatingPointError(
                f"training diverged at step {self.step_number}; start from `best` at a lower rate"
            )
        self.optimizer.step()
        self.update_average()
        self.step_number += 1
        return {name: float(term.detach()) for name, term in terms.items()} | {
            "gradient": float(norm)
        }

    def frequency_term(self, made: Made, targets: Tensor, interpolate: Tensor) -> Tensor:
        """STAR's dynamic-frequency loss; frames that do not count stand on both sides as they are made."""
        seen = torch.where(counted(interpolate), targets, made.frames.detach())
        return dynamic_frequency(
            made.frames * 2 - 1,
            seen * 2 - 1,
            min(self.pipeline.config.timestep, MAX_TIMESTEP),
            as_released=self.config.frequency_as_released,
        )

    @torch.no_grad()
    def update_average(self) -> None:
        """Move the averaged weights; faster at the start of a run, when they are mostly the beginning."""
        decay = min(self.config.ema, (1 + self.step_number) / (10 + self.step_number))
        for name in self.modules():
            averaged = list(getattr(self.average, name).parameters())
            running = [p.detach() for p in getattr(self.pipeline, name).parameters()]
            torch._foreach_lerp_(averaged, running, 1 - decay)

    @torch.no_grad()
    def validate(self, pipeline: DiffSTPipeline) -> dict[str, float]:
        """PSNR of luma in dB over fixed windows of the validation clips, kept and new frames apart."""
        errors: dict[str, list[float]] = {name: [] for name in FIGURES}
        num_batches = VALIDATION_WINDOWS // VALIDATION_BATCH
        for batch in islice(self.validation.batches(VALIDATION_BATCH), num_batches):
            keyframes, flows, targets, interpolate = to_device(batch, self.device)
            made = forward(pipeline, keyframes, flows)
            plain = F.interpolate(keyframes[:, 2], scale_factor=4, mode="bicubic")
            fused = F.interpolate(made.fused, scale_factor=4, mode="bicubic")
            errors["kept"] += losses.luma_errors(made.frames[:, 0], targets[:, 0])
            errors["kept_bicubic"] += losses.luma_errors(plain, targets[:, 0])
            errors["new"] += losses.luma_errors(
                made.frames[:, 1][interpolate], targets[:, 1][interpolate]
            )
            errors["new_fused_bicubic"] += losses.luma_errors(
                fused[interpolate], targets[:, 1][interpolate]
            )
        return {
            name: sum(-10 * log10(e) for e in values) / max(len(values), 1)
            for name, values in errors.items()
        }

    def checkpoint(self, terms: dict[str, float], seconds: float) -> None:
        """Validate the average, write `last/`, copy it to `best/` when it is, and log one line."""
        score = self.validate(self.average)
        reached = quality(score)
        seconds += self.seconds_before
        last, unfinished = self.config.out / "last", self.config.out / "unfinished"
        state = {
            "weights": {name: getattr(self.pipeline, name).state_dict() for name in self.modules()},
            "optimizer": self.optimizer.state_dict(),
            "step": self.step_number,
            "seconds": seconds,
            "best": max(self.best, reached),
            "validation": self.validation.described,
        }
        # A run that is killed while it saves goes on from the checkpoint before.
        self.average.save_pretrained(unfinished)
        torch.save(state, unfinished / "trainer.pt")
        card = nano_card(self.config, step=self.step_number, seconds=seconds, figures=score)
        (unfinished / CARD_NAME).write_text(card, encoding="utf-8")
        if reached > self.best:
            self.best = reached
            better = self.config.out / "best.unfinished"
            shutil.rmtree(better, ignore_errors=True)
            shutil.copytree(unfinished, better, ignore=shutil.ignore_patterns("*.pt"))
            put_in_place(better, self.config.out / "best")
        put_in_place(unfinished, last)
        line: Line = {
            "step": self.step_number,
            "seconds": round(seconds),
            **terms,
            **score,
        }
        with (self.config.out / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps({k: round(v, 5) for k, v in line.items()}) + "\n")
        self.report(line)


def quality(score: dict[str, float]) -> float:
    """What `best/` is chosen by: the mean of the PSNR of kept and of new frames, in dB."""
    return (score["kept"] + score["new"]) / 2


def train(config: TrainConfig, report: Report = lambda _: None) -> Path:
    """Run one sitting of training.

    Args:
        config: The run.
        report: Given each line of the log: step, seconds, mean of each loss, validation PSNR in dB.

    Returns:
        The folder of the best checkpoint so far.

    Raises:
        FileNotFoundError: `start_from` is no pipeline folder.
        ValueError: Weights, `out` or data do not fit the run, or the device is missing.
        StoppedError: It cannot go on after it began.
        FloatingPointError: The gradient runs away.
    """
    trainer = Trainer(config, report)
    with told_where(lambda: trainer.step_number):
        return trainer.run()
