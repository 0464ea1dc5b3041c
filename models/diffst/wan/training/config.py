"""What a training run at Wan's size is made of: one TOML file with `model = "wan"`, one dataclass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from diffst.training.config import MOST_WORKERS, CheckedConfig, parse_config, read_table
from diffst.training.losses import COARSE_SIDES
from diffst.wan.sizes import PIXEL_MULTIPLE, TIME_STRIDE
from diffst.wan.training.stages import FACTOR, STAGES

LAST_TIMESTEP = 1000
DEVICES = ("cuda", "cpu")
TRACKERS = ("tensorboard", "wandb")
CARD_KEYS = ("base_model", "license", "data")
PIXEL_STAGE = 2
LEAST_PIXEL_CROP = max(COARSE_SIDES) // FACTOR


@dataclass(frozen=True, kw_only=True)
class WanTrainConfig(CheckedConfig):
    """One stage of a training at Wan's size.

    Raises:
        ValueError: A value is out of its range.
    """

    data: Path
    """List of clips that `diffst dataset` wrote; or folder made by `python -m diffst.training.prepare`."""
    out: Path
    """Folder for the model (`last/`), the state to go on from (`state/`), `log.jsonl` and samples."""
    start_from: Path
    """Pipeline folder to start from: of Wan's published weights, or what the stage before left in `last/`."""
    stage: int
    """0: CFCA alone. 1: all but the VAE, in latents. 2: the same, in pixels."""
    steps: int
    """At which the stage ends."""
    frames: int = 17
    """Of a window, 4 k + 1."""
    crop: int = 80
    """Side of a window at low resolution, in pixels, a multiple of 4."""
    batch_windows: int = 1
    """Windows that a process computes at once; several processes make a larger batch."""
    gradient_accumulation: int = 1
    """Such batches a step and process, one after the other, whose gradients are averaged."""
    image_share: float = 0.0
    """Share of the steps that are of pictures, where `data` is a list of clips."""
    data_workers: int = 4
    """Processes that make windows ahead, for each process that trains; likewise."""
    run_latents: int = 2
    """Neighbouring latents that stage 2 decodes of each window."""
    rate_factor: float = 1.0
    """Factor on every learning rate of the stage."""
    warmup_steps: int = 100
    """In which the rates rise from 0; then they stay."""
    ema: float = 0.999
    """Decay of the averaged weights, which are what is saved for use."""
    weights: dict[str, float] = field(default_factory=dict)
    """Of losses that shall not have the stage's own weight, or that the stage makes only where it is asked to."""
    lora_rank: int = 0
    """Of low-rank updates, which are trained in place of the transformer's own weights; 0 trains those."""
    timestep: float | None = None
    """The fixed timestep, 0..1000; the pipeline's own unless given."""
    sigma: float | None = None
    """Length of the one step; likewise."""
    checkpointing: bool = True
    """Keep only what is between the transformer's blocks, and compute the rest again on the way back."""
    validation: Path | None = None
    """Folder like `data` with other clips, to measure the model on at each checkpoint; else it is not measured."""
    validation_windows: int = 4
    """Of it, always the same."""
    log_with: tuple[str, ...] = ()
    """Where the curves go besides `log.jsonl`: "tensorboard", "wandb"."""
    card: dict[str, str] = field(default_factory=dict)
    """What the model card shall say: `base_model`, `license`, `data`."""
    device: str = "cuda"
    """"cuda" or "cpu"; which ones of several is said to `accelerate launch`."""
    bfloat16: bool = True
    """Compute in bfloat16 where autocast does (weights stay float32)."""
    save_steps: int = 500
    """Steps between checkpoints, each with a line in the log."""
    seed: int = 0

    def __post_init__(self) -> None:
        multiple = PIXEL_MULTIPLE // FACTOR
        is_whole = self.frames > TIME_STRIDE and self.frames % TIME_STRIDE == 1
        self.check("stage", self.stage in range(len(STAGES)), "0, 1 or 2")
        self.check("frames", is_whole, "5, 9, 13, 17, ...")
        is_multiple = self.crop >= multiple and self.crop % multiple == 0
        self.check("crop", is_multiple, f"a multiple of {multiple}")
        is_seen = self.stage != PIXEL_STAGE or self.crop >= LEAST_PIXEL_CROP
        seen = f"means over {FACTOR * LEAST_PIXEL_CROP} pixels of the result"
        wanted = f"at least {LEAST_PIXEL_CROP} in stage {PIXEL_STAGE}, whose loss looks at {seen}"
        self.check("crop", is_seen, wanted)
        wanted = f"2 to {self.latents}, the latents of {self.frames} frames"
        self.check("run_latents", 2 <= self.run_latents <= self.latents, wanted)
        self.check_range(
            "at least 1", "steps", "batch_windows", "gradient_accumulation", "warmup_steps"
        )
        self.check_range("at least 1", "save_steps", "validation_windows")
        is_share = 0 <= self.image_share <= (1 if self.stage else 0)
        self.check("image_share", is_share, "0 to 1, and 0 in stage 0, which learns motion")
        is_rank = self.lora_rank >= 0 if self.stage else self.lora_rank == 0
        wanted = "at least 0, and 0 in stage 0, which leaves the transformer alone"
        self.check("lora_rank", is_rank, wanted)
        self.check("data_workers", 0 <= self.data_workers <= MOST_WORKERS, f"0 to {MOST_WORKERS}")
        self.check_range("at least 0 and below 1", "ema")
        self.check_range("above 0 and finite", "rate_factor")
        self.check_range("at least 0 and below 2^63", "seed")
        is_step = self.timestep is None or 0 <= self.timestep <= LAST_TIMESTEP
        self.check("timestep", is_step, f"0 to {LAST_TIMESTEP}")
        self.check("sigma", self.sigma is None or 0 < self.sigma <= 1, "above 0 and at most 1")
        self.check_weights()
        self.check_names("device", (self.device,), DEVICES)
        self.check_names("log_with", self.log_with, TRACKERS)
        self.check_names("card", self.card, CARD_KEYS)
        for name, said in self.card.items():
            if not isinstance(said, str):
                raise ValueError(f"`{name}` in `[card]` is a text in quotes, not {said!r}")

    def check_weights(self) -> None:
        """Raise ValueError where a loss is not one of the stage's, its weight is no weight, or none has any."""
        stage = STAGES[self.stage]
        known = (*stage.weights, *stage.options)
        for name, weight in self.weights.items():
            if name not in known:
                raise ValueError(
                    f"stage {self.stage} has no loss `{name}`; it has {', '.join(known)}"
                )
            if type(weight) not in (int, float) or not 0 <= weight < inf:
                raise ValueError(
                    f"the weight of `{name}` is a finite number from 0 on, not {weight!r}"
                )
        if not any((stage.weights | self.weights).values()):
            raise ValueError(f"a weight of stage {self.stage} is above 0, not all of them 0")

    @staticmethod
    def check_names(key: str, names: Iterable[str], known: tuple[str, ...]) -> None:
        """Raise ValueError where a name is not one of the known ones."""
        for name in names:
            if name not in known:
                raise ValueError(f"`{key}` knows {', '.join(known)}, not `{name}`")

    @property
    def latents(self) -> int:
        """Of a window."""
        return 1 + self.frames // TIME_STRIDE

    @property
    def keyframes(self) -> int:
        """Of a window: every second frame, and two more on each side."""
        return (self.frames + 9) // 2


def load_wan_config(path: Path) -> WanTrainConfig:
    """Read a TOML file; relative paths are taken from the current folder, as on a command line.

    Raises:
        ValueError: A key is unknown, a required one is missing, or a value is out of its range.
    """
    return parse_config(WanTrainConfig, read_table(path), path)
