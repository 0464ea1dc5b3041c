"""What a training run at Wan's size is made of: one TOML file with `model = "wan"`, one dataclass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from diffst.training.config import SEEDS, parse_config, read_table
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
class WanTrainConfig:
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
        if self.stage not in range(len(STAGES)):
            raise ValueError(f"`stage` is 0, 1 or 2, not {self.stage}")
        if self.frames < TIME_STRIDE + 1 or self.frames % TIME_STRIDE != 1:
            raise ValueError(f"`frames` is 5, 9, 13, 17, ..., not {self.frames}")
        if self.crop < multiple or self.crop % multiple:
            raise ValueError(f"`crop` is a multiple of {multiple}, not {self.crop}")
        if self.stage == PIXEL_STAGE and self.crop < LEAST_PIXEL_CROP:
            raise ValueError(
                f"`crop` is at least {LEAST_PIXEL_CROP} in stage {PIXEL_STAGE}, whose loss looks at means "
                f"over {FACTOR * LEAST_PIXEL_CROP} pixels of the result, not {self.crop}"
            )
        if not 2 <= self.run_latents <= self.latents:
            raise ValueError(
                f"`run_latents` is 2 to {self.latents}, the latents of {self.frames} frames"
            )
        self.check_counts()
        if not 0 <= self.image_share <= 1 or (self.image_share and self.stage == 0):
            raise ValueError(
                f"`image_share` is 0 to 1, and 0 in stage 0, which learns motion, not {self.image_share}"
            )
        if self.data_workers < 0:
            raise ValueError(f"`data_workers` is at least 0, not {self.data_workers}")
        if self.lora_rank < 0 or (self.lora_rank and self.stage == 0):
            raise ValueError(
                f"`lora_rank` is at least 0, and 0 in stage 0, which leaves the transformer alone, not {self.lora_rank}"
            )
        self.check_numbers()
        self.check_weights()
        self.check_names("device", (self.device,), DEVICES)
        self.check_names("log_with", self.log_with, TRACKERS)
        self.check_names("card", self.card, CARD_KEYS)
        for name, said in self.card.items():
            if not isinstance(said, str):
                raise ValueError(f"`{name}` in `[card]` is a text in quotes, not {said!r}")

    def check_counts(self) -> None:
        """Raise ValueError where there are none of what there must be one of."""
        for name in (
            "steps",
            "batch_windows",
            "gradient_accumulation",
            "warmup_steps",
            "save_steps",
            "validation_windows",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` is at least 1, not {getattr(self, name)}")

    def check_numbers(self) -> None:
        """Raise ValueError where a number is out of its range."""
        if not 0 <= self.ema < 1:
            raise ValueError(f"`ema` is at least 0 and below 1, not {self.ema}")
        if not 0 < self.rate_factor < inf:
            raise ValueError(f"`rate_factor` is above 0 and finite, not {self.rate_factor}")
        if self.seed not in SEEDS:
            raise ValueError(f"`seed` is at least 0 and below 2^63, not {self.seed}")
        if self.timestep is not None and not 0 <= self.timestep <= LAST_TIMESTEP:
            raise ValueError(f"`timestep` is 0 to {LAST_TIMESTEP}, not {self.timestep}")
        if self.sigma is not None and not 0 < self.sigma <= 1:
            raise ValueError(f"`sigma` is above 0 and at most 1, not {self.sigma}")

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
