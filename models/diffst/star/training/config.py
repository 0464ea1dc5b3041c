"""What a training run of STAR is made of: one TOML file with the `model` that it begins with, one dataclass."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from diffst.reach import CONTEXT_KEYFRAMES
from diffst.star.load import ready_folder
from diffst.star.names import COGVIDEOX_PIPELINE, STAR_MODELS, UNET_PIPELINE
from diffst.star.text import DEFAULT_PROMPT
from diffst.training.config import CheckedConfig, parse_config, read_table
from diffst.training.degradation import FACTOR

STRIDE = 16  # low-resolution pixels: eight latents, what the network halves three times
HEIGHT_REMAINDER = 4  # low-resolution pixels that heights are above a multiple of the stride
COGVIDEOX_STRIDE = 12  # of widths, so that two thirds are whole tokens of 4 low-resolution pixels
WHOLE_GROUPS = (
    9,
    17,
    25,
)  # frames that the VAE takes without filling up, to the most that were taught


@dataclass(frozen=True, kw_only=True)
class StarTrainConfig(CheckedConfig):
    """A training run of either kind of STAR; the defaults are its paper's, where that names any.

    Raises:
        ValueError: A value is out of its range.
    """

    PARTS: ClassVar[tuple[str, ...]]
    """What `parts` may be, the published choice first."""

    data: Path
    """Folder made by `python -m diffst.training.prepare`: the training windows."""
    out: Path
    """Folder for the model (`last/`) and `log.jsonl`."""
    start_from: Path
    """Pipeline folder to start from; that of the file's `model` unless given."""
    parts: str
    """What is trained; `local` is local enhancement alone."""
    steps: int = 15000
    """At which the run ends."""
    frames: int
    """Of a clip."""
    crop: int
    """Width of a clip at low resolution, in pixels."""
    batch_clips: int = 8
    """Clips a step, one after the other."""
    learning_rate: float = 5e-5
    """Of AdamW, constant."""
    weight_frequency: float = 1.0
    """Of the dynamic-frequency loss, beta of the paper; 0 leaves it out, and with it all decoding."""
    frequency_as_released: bool = False
    """Show that loss without its gradient, as the released code has it."""
    prompt: str
    """What every clip is said to show."""
    checkpointing: bool = True
    """Keep only what is between the layers, and compute the rest again on the way back."""
    device: str = "cuda"
    bfloat16: bool = True
    """Compute in bfloat16 where autocast does (weights stay float32)."""
    save_steps: int = 500
    """Steps between checkpoints."""
    log_steps: int = 10
    """Steps between lines of the log."""
    seed: int = 0

    def __post_init__(self) -> None:
        self.check("parts", self.parts in self.PARTS, f"one of {', '.join(self.PARTS)}")
        self.check_range("above 0 and finite", "learning_rate")
        self.check_range("at least 0 and finite", "weight_frequency")
        self.check_range("at least 0 and below 2^63", "seed")
        self.check_range("at least 1", "steps", "frames", "batch_clips", "save_steps", "log_steps")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a clip's pictures at high resolution."""
        raise NotImplementedError

    @property
    def keyframes(self) -> int:
        """Of a window of the data set, which has two more on each side."""
        return self.frames + 2 * CONTEXT_KEYFRAMES


@dataclass(frozen=True, kw_only=True)
class UNetTrainConfig(StarTrainConfig):
    """Of the I2VGen-XL-based one; `crop` is a multiple of 16, and a clip is 12 pixels less high."""

    PARTS: ClassVar[tuple[str, ...]] = ("control", "local")

    parts: str = "control"
    frames: int = 32
    crop: int = 176
    decoded_frames: int = 3
    """Frames of each clip that are decoded for the dynamic-frequency loss, at a random place."""
    prompt: str = DEFAULT_PROMPT

    def __post_init__(self) -> None:
        super().__post_init__()
        is_multiple = self.crop >= 2 * STRIDE and self.crop % STRIDE == 0
        self.check("crop", is_multiple, "32, 48, 64, ...")
        is_part = 1 <= self.decoded_frames <= self.frames
        self.check("decoded_frames", is_part, f"1 to {self.frames}, the frames of a clip")

    @property
    def size(self) -> tuple[int, int]:
        """See `StarTrainConfig`."""
        return FACTOR * (self.crop - STRIDE + HEIGHT_REMAINDER), FACTOR * self.crop


@dataclass(frozen=True, kw_only=True)
class CogVideoXTrainConfig(StarTrainConfig):
    """Of the CogVideoX-based one; `crop` is a multiple of 12, and a clip is two thirds as high."""

    PARTS: ClassVar[tuple[str, ...]] = ("lora", "local")

    parts: str = "lora"
    frames: int = 25
    crop: int = 180
    lora_rank: int = 512
    """Of the low-rank updates."""
    prompt: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        is_multiple = self.crop >= COGVIDEOX_STRIDE and self.crop % COGVIDEOX_STRIDE == 0
        self.check("crop", is_multiple, "12, 24, 36, ...")
        self.check("frames", self.frames in WHOLE_GROUPS, "9, 17 or 25")
        self.check_range("at least 1", "lora_rank")

    @property
    def size(self) -> tuple[int, int]:
        """See `StarTrainConfig`."""
        return FACTOR * self.crop * 2 // 3, FACTOR * self.crop


CONFIGS: dict[str, type[StarTrainConfig]] = {
    UNET_PIPELINE: UNetTrainConfig,
    COGVIDEOX_PIPELINE: CogVideoXTrainConfig,
}


def load_star_config(path: Path) -> StarTrainConfig:
    """Read a TOML file; relative paths are taken from the current folder, as on a command line.

    Raises:
        FileNotFoundError: `start_from` is left out, and the model is not here.
        ValueError: A key is unknown, a required one is missing, a value is out of its range, or `model` is no STAR.
    """
    table = read_table(path)
    model = table.get("model", "")
    if model not in STAR_MODELS:
        raise ValueError(f"`model` is {', '.join(STAR_MODELS)}, not `{model}`")
    if "start_from" not in table:
        table["start_from"] = str(ready_folder(model))
    return parse_config(CONFIGS[STAR_MODELS[model]], table, path)
