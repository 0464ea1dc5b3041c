"""How fast a model alone is on this machine, by stage, with random weights where there are no trained ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from diffst.wan.names import WAN_MODEL
from diffst_cli.benchmark import STAGE_TITLES, Spread, peak_device_bytes
from diffst_cli.errors import UsageError
from diffst_cli.forecast import matrix_rate
from diffst_cli.job import UpscaleJob
from diffst_cli.memory import peak_bytes
from diffst_cli.memory_laws import wan_operations
from diffst_cli.planner import choose_place
from diffst_cli.words import counted, gigabytes, times

if TYPE_CHECKING:
    from torch import Tensor

    from diffst.pipeline import OnStage
    from diffst.wan.levers import Levers
    from diffst.wan.pipeline import DiffSTWanPipeline

RANDOM_SIZES = {
    WAN_MODEL: "1.3b"
}  # models that can be had with random weights -> `build_random`'s size
DEFAULT_OUTPUT = (1280, 720)
DEFAULT_FRAMES = 33
OVERHEAD = "all else"  # of the whole, what no stage counts
TERA = 1e12


@dataclass(frozen=True, kw_only=True)
class ModelPlan:
    """What to run, and how often; checked when made.

    Raises:
        UsageError: There is no such random model, or a number is out of range.
    """

    job: UpscaleJob
    """Of which model, device, precision and decoder count."""
    size: tuple[int, int]
    """Output width and height, in pixels."""
    scale: Fraction
    """Output side over input side."""
    fps_x: Fraction
    """Output frames for each input frame."""
    num_frames: int
    """Of the output."""
    repeats: int
    levers: str
    """What makes it faster: see `Levers.parse`."""

    def __post_init__(self) -> None:
        if self.job.model not in RANDOM_SIZES:
            known = ", ".join(f"`{name}`" for name in RANDOM_SIZES)
            raise UsageError(
                f"there is no `{self.job.model}` with random weights", hint=f"there is: {known}"
            )
        if self.num_frames < 1 or self.repeats < 1:
            raise UsageError("`--frames` and `--repeats` take 1 or more")
        if min(self.input_size) < 1:
            raise UsageError(
                f"an input of {self.input_size} is too small", hint="give a larger --size"
            )

    @property
    def input_size(self) -> tuple[int, int]:
        """Width and height of the keyframes."""
        return round(self.size[0] / self.scale), round(self.size[1] / self.scale)

    @property
    def instants(self) -> list[tuple[int, float]]:
        """Where the output frames lie between keyframes."""
        positions = [number / self.fps_x for number in range(self.num_frames)]
        return [(int(position), float(position % 1)) for position in positions]

    @property
    def num_keyframes(self) -> int:
        """Input frames that the output frames need; motion needs two."""
        last, alpha = self.instants[-1]
        return max(last + (2 if alpha else 1), 2)


@dataclass(frozen=True, kw_only=True)
class ModelResult:
    """What was measured and counted."""

    device: str
    precision: str
    input_size: tuple[int, int]
    output_size: tuple[int, int]
    keyframes: int
    frames: int
    repeats: int
    levers: list[str]
    """What was done to make it faster; without any, these are diffusers' own modules."""
    decoder: str
    """`full`, the VAE's, or `tiny`."""
    steps: int
    """Of the sampler; DiffST takes one."""
    parameters: dict[str, int]
    """Of each component."""
    seconds: Spread
    """Of one clip, through the model alone."""
    stage_seconds: dict[str, Spread]
    stage_operations: dict[str, float]
    """Floating-point operations, counted by torch while it ran; a multiply-add is two."""
    formula_operations: dict[str, float]
    """The same by the laws that the planner uses."""
    teraflops: float
    """10^12 operations a second, over the whole."""
    matrix_teraflops: float
    """Of large matrix products in this precision on this device, measured."""
    floor_seconds: float
    """What the operations take at that speed."""
    fraction_of_floor: float
    """Floor over median time: 1 is as fast as matrix products."""
    output_fps: float
    peak_memory_bytes: int
    peak_device_bytes: int | None
    """Most that torch held on the GPU; None on the CPU."""


def measure_model(plan: ModelPlan, say: Callable[[str], None]) -> ModelResult:
    """Build the model, run it once to warm up, once to count, then `repeats` times.

    Raises:
        UserError: The device is not there.
    """
    from diffst.wan import parameter_counts
    from diffst.wan.build import random_tiny_decoder
    from diffst.wan.levers import pull

    levers = chosen_levers(plan)
    place = choose_place(plan.job)
    say("building the model")
    pipeline = random_pipeline(plan, place)
    if plan.job.decoder == "tiny":
        pipeline.codec.take_tiny_decoder(random_tiny_decoder(RANDOM_SIZES[plan.job.model]))
    parameters = parameter_counts(pipeline)
    pull(pipeline, levers)
    return measure_pipeline(plan, pipeline, place, levers.pulled, parameters, say)


def chosen_levers(plan: ModelPlan) -> Levers:
    """The levers that a plan names.

    Raises:
        UsageError: There is no such lever, or the device does not have it.
    """
    from diffst.wan.levers import Levers

    try:
        levers = Levers.parse(plan.levers)
    except ValueError as error:
        raise UsageError(f"`--levers`: {error}") from error
    if levers.cudnn_attention and not choose_place(plan.job)[0].startswith("cuda"):
        raise UsageError("`--levers`: `cudnn_attention` needs a GPU of NVIDIA", hint="leave it out")
    if levers.cudnn_attention and choose_place(plan.job)[1] == "fp32":
        raise UsageError(
            "`--levers`: `cudnn_attention` has no kernel for fp32", hint="use `--precision bf16`"
        )
    return levers


def random_pipeline(plan: ModelPlan, place: tuple[str, str]) -> DiffSTWanPipeline:
    """A plan's model with random weights, for a device and in a precision; still in main memory."""
    from diffst.upscaler import PRECISIONS
    from diffst.wan import build_random

    return build_random(RANDOM_SIZES[plan.job.model], dtype=PRECISIONS[place[1]])


def measure_pipeline(
    plan: ModelPlan,
    pipeline: DiffSTWanPipeline,
    place: tuple[str, str],
    levers: list[str],
    parameters: dict[str, int],
    say: Callable[[str], None],
) -> ModelResult:
    """The figures of a pipeline as it is, moved to its device.

    Args:
        plan: What to run.
        pipeline: Whose levers were pulled.
        place: Device and precision.
        levers: Names of those.
        parameters: Of each component, before.
        say: Told what is done.
    """
    import torch

    pipeline.to(place[0])
    frames = random_frames(plan).to(place[0])
    decoder = "full" if pipeline.codec.tiny_decoder is None else "tiny"

    def run(on_stage: OnStage) -> Tensor:
        made: Tensor = pipeline(
            frames,
            plan.instants,
            (plan.size[1], plan.size[0]),
            output_type=torch.uint8,
            on_stage=on_stage,
        )
        return made.cpu()

    say("warming up")
    timed_run(run)
    say("counting")
    operations = count_operations(run)
    rows = int(pipeline.vrg.config.num_tokens)  # of guidance, in the text's place
    return summarise_model(
        plan,
        timed_runs(plan, run, say),
        place=place,
        levers=levers,
        decoder=decoder,
        parameters=parameters,
        operations=operations,
        formula=wan_operations(padded_pixels(plan.size), plan.num_frames, rows, decoder=decoder),
    )


def timed_runs(
    plan: ModelPlan, run: Callable[[OnStage], Tensor], say: Callable[[str], None]
) -> list[tuple[float, dict[str, float]]]:
    """As many runs as a plan asks for, each timed."""
    runs = []
    for number in range(plan.repeats):
        say(f"run {number + 1} of {plan.repeats}")
        runs.append(timed_run(run))
    return runs


def summarise_model(
    plan: ModelPlan,
    runs: Sequence[tuple[float, dict[str, float]]],
    *,
    place: tuple[str, str],
    levers: list[str],
    decoder: str,
    parameters: dict[str, int],
    operations: dict[str, float],
    formula: dict[str, float],
    steps: int = 1,
) -> ModelResult:
    """The figures of equal runs, at least one; measures what matrix products reach on their device.

    Args:
        plan: What was run.
        runs: Seconds of each, whole and by stage.
        place: Device and precision.
        levers: Those pulled.
        decoder: `full` or `tiny`.
        parameters: Of each component.
        operations: By stage, counted.
        formula: The same by the planner's laws.
        steps: Of the sampler.
    """
    seconds = Spread.of([spent for spent, _ in runs])
    total, rate = sum(operations.values()), matrix_rate(*place)
    return ModelResult(
        device=place[0],
        precision=place[1],
        input_size=plan.input_size,
        output_size=plan.size,
        keyframes=plan.num_keyframes,
        frames=plan.num_frames,
        repeats=plan.repeats,
        levers=levers,
        decoder=decoder,
        steps=steps,
        parameters=parameters,
        seconds=seconds,
        stage_seconds={
            name: Spread.of([stages[name] for _, stages in runs]) for name in runs[0][1]
        },
        stage_operations=operations,
        formula_operations=formula,
        teraflops=total / seconds.median / TERA,
        matrix_teraflops=rate / TERA,
        floor_seconds=total / rate,
        fraction_of_floor=total / rate / seconds.median,
        output_fps=plan.num_frames / seconds.median,
        peak_memory_bytes=peak_bytes(),
        peak_device_bytes=peak_device_bytes(),
    )


def random_frames(plan: ModelPlan) -> Tensor:
    """Keyframes of noise, (T, 3, H, W) float32 in [0, 1], as many as the plan's instants need."""
    import torch

    width, height = plan.input_size
    generator = torch.Generator().manual_seed(0)
    return torch.rand(plan.num_keyframes, 3, height, width, generator=generator)


def timed_run(
    run: Callable[[OnStage], Tensor],
) -> tuple[float, dict[str, float]]:
    """Seconds of one run, whole and by stage."""
    stages: dict[str, float] = {}

    def add(name: str, seconds: float) -> None:
        stages[name] = stages.get(name, 0.0) + seconds

    started = time.perf_counter()
    run(add)
    whole = time.perf_counter() - started
    stages[OVERHEAD] = whole - sum(stages.values())
    return whole, stages


def count_operations(run: Callable[[OnStage], Tensor]) -> dict[str, float]:
    """Floating-point operations by stage, of convolutions, products and attention."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    counted: dict[str, float] = {}
    counter = FlopCounterMode(display=False)
    before = 0

    def add(name: str, _: float) -> None:
        nonlocal before
        now = counter.get_total_flops()
        counted[name] = counted.get(name, 0.0) + now - before
        before = now

    # What the compiler meets under a counter it gives up for good.
    with torch.compiler.set_stance("force_eager"), counter:
        run(add)
    return {name: value for name, value in counted.items() if value}


def padded_pixels(size: tuple[int, int]) -> int:
    """Pixels of a frame as the model sees it: sides are multiples of 16."""
    return -(-size[0] // 16) * 16 * (-(-size[1] // 16) * 16)


def report_model(result: ModelResult) -> str:
    """The figures as lines of text."""
    width, height = result.output_size
    lines = [
        f"{counted(result.frames, 'frame')} of {width}x{height} from {result.keyframes} of "
        f"{result.input_size[0]}x{result.input_size[1]}, {result.precision} on {result.device}, "
        f"random weights, measured {times(result.repeats)} after one run to warm up",
        f"levers: {', '.join(result.levers) or 'none, the modules of diffusers'}; decoder: {result.decoder}",
        "",
        f"{'':12} {'seconds':>9} {'TFLOP':>9} {'TFLOP/s':>9}",
    ]
    for name, spread in result.stage_seconds.items():
        operations = result.stage_operations.get(name)
        work = "" if operations is None else f" {operations / TERA:9.3f}"
        rate = "" if operations is None else f" {operations / spread.median / TERA:9.3f}"
        lines.append(f"{STAGE_TITLES.get(name, name).strip():12} {spread.median:9.2f}{work}{rate}")
    total = sum(result.stage_operations.values())
    lines += [
        f"{'whole':12} {result.seconds.median:9.2f} {total / TERA:9.3f} {result.teraflops:9.3f}",
        f"by the planner's laws {sum(result.formula_operations.values()) / TERA:.3f} TFLOP",
        "",
        f"matrix products here reach {result.matrix_teraflops:.3f} TFLOP/s: a floor of "
        f"{result.floor_seconds:.2f} s, of which this is {100 * result.fraction_of_floor:.0f} %",
        f"output frames/s {result.output_fps:.3f}",
        f"peak memory {gigabytes(result.peak_memory_bytes)}",
    ]
    if result.peak_device_bytes is not None:
        lines.append(f"peak GPU memory {gigabytes(result.peak_device_bytes)}")
    lines += [f"{name:12} {count:>15,} parameters" for name, count in result.parameters.items()]
    return "\n".join(lines)
