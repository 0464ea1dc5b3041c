"""What a training run of STAR is made of: one TOML file with `model = "star-light"` or "star-heavy", one dataclass."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diffst.star.load import ready_folder
from diffst.star.names import UNET_PIPELINE, star_pipeline
from diffst.star.text import DEFAULT_PROMPT
from diffst.star.training.parts import PARTS
from diffst.training.config import parse_config, read_table
from diffst.training.dataset import CONTEXT_KEYFRAMES
from diffst.training.degradation import FACTOR

STRIDE = 16  # low-resolution pixels: eight latents, what the network halves three times
HEIGHT_REMAINDER = 4  # low-resolution pixels that heights are above a multiple of the stride


@dataclass(frozen=True, kw_only=True)
class StarTrainConfig:
    """A training run of the I2VGen-XL-based STAR; the defaults are its paper's, where that names any.

    Raises:
        ValueError: A value is out of its range.
    """

    data: Path
    """Folder made by `python -m diffst.training.prepare`: the training windows."""
    out: Path
    """Folder for the model (`last/`) and `log.jsonl`."""
    start_from: Path
    """Pipeline folder to start from; that of the file's `model` unless given."""
    parts: str = "control"
    """`control`: the control branch and all local enhancement. `local`: local enhancement alone."""
    steps: int = 15000
    """At which the run ends."""
    frames: int = 32
    """Of a clip."""
    crop: int = 176
    """Width of a clip at low resolution, in pixels, a multiple of 16; it is 12 pixels less high."""
    batch_clips: int = 8
    """Clips a step, one after the other."""
    learning_rate: float = 5e-5
    """Of AdamW, constant."""
    weight_frequency: float = 1.0
    """Of the dynamic-frequency loss, beta of the paper; 0 leaves it out, and with it all decoding."""
    frequency_as_released: bool = False
    """Show that loss without its gradient, as the released code has it."""
    decoded_frames: int = 3
    """Frames of each clip that are decoded for that loss, at a random place."""
    prompt: str = DEFAULT_PROMPT
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
        if self.parts not in PARTS:
            raise ValueError(f"`parts` is one of {', '.join(PARTS)}, not `{self.parts}`")
        if self.crop < 2 * STRIDE or self.crop % STRIDE:
            raise ValueError(f"`crop` is 32, 48, 64, ..., not {self.crop}")
        if not 1 <= self.decoded_frames <= self.frames:
            raise ValueError(f"`decoded_frames` is 1 to {self.frames}, the frames of a clip")
        if self.weight_frequency < 0 or not self.learning_rate > 0:
            raise ValueError("`learning_rate` is above 0, and `weight_frequency` not below")
        for name in ("steps", "frames", "batch_clips", "save_steps", "log_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` is at least 1, not {getattr(self, name)}")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a clip's pictures at high resolution."""
        return FACTOR * (self.crop - STRIDE + HEIGHT_REMAINDER), FACTOR * self.crop

    @property
    def keyframes(self) -> int:
        """Of a window of the data set, which has two more on each side."""
        return self.frames + 2 * CONTEXT_KEYFRAMES


def load_star_config(path: Path) -> StarTrainConfig:
    """Read a TOML file; relative paths are taken from the current folder, as on a command line.

    Raises:
        FileNotFoundError: `start_from` is left out, and the model is not here.
        ValueError: A key is unknown, a required one is missing, a value is out of its range, or `model` is no model
            that can be trained.
    """
    table = read_table(path)
    model = table.get("model", "")
    if star_pipeline(model) != UNET_PIPELINE:
        raise ValueError(f"`{model}` cannot be trained; `star-light` and `star-heavy` can")
    if "start_from" not in table:
        table["start_from"] = str(ready_folder(model))
    return parse_config(StarTrainConfig, table, path)
