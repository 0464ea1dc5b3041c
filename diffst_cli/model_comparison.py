"""One model in several ways in one run: stock modules, ours, a tiny decoder, and many steps as a baseline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diffst_cli.errors import UsageError
from diffst_cli.memory_laws import wan_operations
from diffst_cli.model_benchmark import (
    RANDOM_SIZES,
    ModelPlan,
    ModelResult,
    chosen_levers,
    count_operations,
    measure_pipeline,
    padded_pixels,
    random_pipeline,
    summarise_model,
    timed_runs,
)
from diffst_cli.planner import choose_place
from diffst_cli.words import times

if TYPE_CHECKING:
    from torch import Tensor

    from diffst.pipeline import OnStage
    from diffst.wan.pipeline import DiffSTWanPipeline

BASELINE_STEPS = (15, 50)
STOCK, OURS, TINY = "stock modules", "ours", "ours, tiny decoder"
SHOWN_STAGES = ("encode", "dit", "decode")


@dataclass(frozen=True, kw_only=True)
class ModelComparison:
    """The figures of each way, by its name."""

    ways: dict[str, ModelResult]
    """In the order in which they were measured."""
    times_ours: dict[str, float]
    """Median seconds of each over those of ours."""


def compare_ways(plan: ModelPlan, say: Callable[[str], None]) -> ModelComparison:
    """Measure every way on the same weights, one after another.

    The baseline is the stock text-to-video sampling, on the same transformer and VAE: it makes as many frames of the
    same size from noise, without an input video.

    Raises:
        UsageError: The plan itself asks for the tiny decoder.
        UserError: The device is not there.
    """
    from diffst.wan import parameter_counts
    from diffst.wan.build import random_tiny_decoder
    from diffst.wan.levers import pull, pull_again

    if plan.job.decoder != "full":
        raise UsageError("`--compare` measures both decoders", hint="leave out `--decoder`")
    levers, place = chosen_levers(plan), choose_place(plan.job)
    say("building the model")
    pipeline = random_pipeline(plan, place)
    parameters = parameter_counts(pipeline)
    ways: dict[str, ModelResult] = {}

    def teller(name: str) -> Callable[[str], None]:
        return lambda words: say(f"{name}: {words}")

    def measure(name: str, pulled: list[str]) -> None:
        forget_peak(place[0])
        ways[name] = measure_pipeline(plan, pipeline, place, pulled, parameters, teller(name))

    # Stock modules first: what is done for speed cannot be undone.
    measure(STOCK, [])
    for steps in BASELINE_STEPS:
        name = f"stock, {steps} steps"
        forget_peak(place[0])
        ways[name] = measure_steps(plan, pipeline, place, steps, teller(name))
    pull(pipeline, levers)
    measure(OURS, levers.pulled)
    pipeline.codec.take_tiny_decoder(random_tiny_decoder(RANDOM_SIZES[plan.job.model]))
    parameters = {**parameters, "codec": parameter_counts(pipeline)["codec"]}
    pull_again(pipeline.codec, levers)
    measure(TINY, levers.pulled)
    ours = ways[OURS].seconds.median
    return ModelComparison(
        ways=ways,
        times_ours={name: result.seconds.median / ours for name, result in ways.items()},
    )


def measure_steps(
    plan: ModelPlan,
    pipeline: DiffSTWanPipeline,
    place: tuple[str, str],
    steps: int,
    say: Callable[[str], None],
) -> ModelResult:
    """The figures of the stock sampling in so many steps, with a pipeline whose modules are stock."""
    from diffst.wan import parameter_counts
    from diffst.wan.multi_step import TEXT_ROWS, sample

    size = (plan.size[1], plan.size[0])

    def run(on_stage: OnStage, num_steps: int = steps) -> Tensor:
        return sample(pipeline, size, plan.num_frames, num_steps, on_stage=on_stage).cpu()

    say("warming up and counting")
    operations = count_operations(lambda on_stage: run(on_stage, 1))
    operations["dit"] *= steps  # all alike
    formula = wan_operations(padded_pixels(plan.size), plan.num_frames, TEXT_ROWS)
    counts = parameter_counts(pipeline)
    return summarise_model(
        plan,
        timed_runs(plan, run, say),
        place=place,
        levers=[],
        decoder="full",
        parameters={name: counts[name] for name in ("transformer", "codec")},
        operations=operations,
        # Two calls a step, with the prompt and without.
        formula={"dit": 2 * steps * formula["dit"], "decode": formula["decode"]},
        steps=steps,
    )


def forget_peak(device: str) -> None:
    """Count the most memory on a GPU anew."""
    import torch

    if device.startswith("cuda") and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats(device)


def report_comparison(comparison: ModelComparison) -> str:
    """The figures as lines of text."""
    ours = comparison.ways[OURS]
    width, height = ours.output_size
    lines = [
        f"{ours.frames} frames of {width}x{height}, {ours.precision} on {ours.device}, random weights, "
        f"each measured {times(ours.repeats)} after one run to warm up",
        f"ours: levers {', '.join(ours.levers) or 'none'}",
        "",
        f"{'seconds':22} {'encode':>8} {'DiT':>8} {'decode':>8} {'whole':>8} {'TFLOP':>9} {'times ours':>11}",
    ]
    for name, result in comparison.ways.items():
        stages = [result.stage_seconds.get(stage) for stage in SHOWN_STAGES]
        shown = [f"{'-' if spent is None else f'{spent.median:.2f}':>8}" for spent in stages]
        total = sum(result.stage_operations.values()) / 1e12
        lines.append(
            f"{name:22} {' '.join(shown)} {result.seconds.median:8.2f} {total:9.3f} "
            f"{comparison.times_ours[name]:11.2f}"
        )
    return "\n".join(lines)
