"""What a training run is made of: one TOML file, one dataclass."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# What TOML may give for a field's type, and how that is called.
TOML_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "str": (str,),
    "Path": (str,),
    "tuple[str, ...]": (list,),
    "dict[str, float]": (dict,),
    "dict[str, str]": (dict,),
}
TOML_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text in quotes",
    "Path": "a path in quotes",
    "tuple[str, ...]": "a list",
    "dict[str, float]": "a table",
    "dict[str, str]": "a table",
}
MOST_THREADS = 1024  # more than a run could use; torch crashes at some thousands
MOST_WORKERS = 256  # processes that load data
CROP_MULTIPLE = 16  # low-resolution pixels
Config = TypeVar("Config", bound="DataclassInstance")
# Ranges that several keys have, by their words; what is no number is in none.
RANGES: dict[str, Callable[[Any], bool]] = {
    "at least 1": lambda value: value >= 1,
    "at least 0 and finite": lambda value: 0 <= value < inf,
    "above 0 and finite": lambda value: 0 < value < inf,
    "at least 0 and below 1": lambda value: 0 <= value < 1,
    # Of seeds: a run adds its step, and torch takes 64 bits.
    "at least 0 and below 2^63": lambda value: 0 <= value < 2**63,
}


@dataclass(frozen=True, kw_only=True)
class CheckedConfig:
    """What the dataclasses of training files have in common: how a value that is out of its range is told."""

    def check(self, name: str, is_right: bool, wanted: str) -> None:
        """Raise ValueError where a value is not what is `wanted`."""
        if not is_right:
            value = getattr(self, name)
            shown = f"`{value}`" if isinstance(value, str) else value
            raise ValueError(f"`{name}` is {wanted}, not {shown}")

    def check_range(self, wanted: str, *names: str) -> None:
        """Raise ValueError where one of these values is out of the range of `RANGES` that is `wanted`."""
        for name in names:
            self.check(name, RANGES[wanted](getattr(self, name)), wanted)


@dataclass(frozen=True, kw_only=True)
class TrainConfig(CheckedConfig):
    """A training run.

    Raises:
        ValueError: A value is out of its range.
    """

    data: Path
    """Folder made by `python -m diffst.training.prepare`: the training windows."""
    validation: Path
    """Folder of the same form with other clips; the best checkpoint is the one that does best here."""
    out: Path
    """Folder for checkpoints (`last/`, `best/`) and `log.jsonl`."""
    start_from: Path | None = None
    """Pipeline folder whose weights to start from, unless `out/last` exists, which is resumed."""
    minutes: float = 60.0
    """Time for this sitting; the learning rate falls along a half cosine over it."""
    batch_windows: int = 8
    """Windows a step; each gives three frames: kept, new, kept."""
    crop: int = 64
    """Side of a window at low resolution, in pixels, a multiple of `CROP_MULTIPLE`."""
    faded_share: float = 0.25
    """Share of the training windows whose contrast is lowered, as in fog or at dusk."""
    learning_rate: float = 5e-4
    """Peak learning rate of AdamW."""
    warmup_fraction: float = 0.02
    """Share of the sitting in which the learning rate rises from 0."""
    ema: float = 0.999
    """Decay of the averaged weights, which are what is saved for use."""
    weight_reconstruction: float = 1.0
    weight_decibels: float = 0.03
    weight_spectrum: float = 0.1
    weight_consistency: float = 0.2
    weight_latent: float = 0.02
    weight_cfca: float = 0.2
    """Of the fused low-resolution frames against the undamaged ones."""
    weight_frequency: float = 0.0
    """Of STAR's dynamic-frequency loss at the pipeline's timestep; 0 leaves it out."""
    frequency_as_released: bool = False
    """Show that loss without its gradient, as STAR's released code has it."""
    device: str = "cpu"
    bfloat16: bool = False
    """Run convolutions in bfloat16 (weights stay float32)."""
    data_workers: int = 0
    """Processes that make windows ahead; 0 makes them between steps, which a GPU would wait for."""
    threads: int = 2
    """CPU threads of torch."""
    save_seconds: float = 60.0
    """Time between checkpoints."""
    seed: int = 0

    def __post_init__(self) -> None:
        self.check_range("at least 1", "batch_windows")
        self.check("data_workers", 0 <= self.data_workers <= MOST_WORKERS, f"0 to {MOST_WORKERS}")
        self.check("threads", 1 <= self.threads <= MOST_THREADS, f"1 to {MOST_THREADS}")
        self.check_range("above 0 and finite", "minutes", "learning_rate", "save_seconds")
        weights = [field.name for field in fields(self) if field.name.startswith("weight_")]
        self.check_range("at least 0 and finite", *weights)
        shown = {"weight_frequency"} if self.frequency_as_released else set()
        if not any(getattr(self, name) for name in weights if name not in shown):
            raise ValueError("a weight of a loss that teaches is above 0, not all of them 0")
        self.check_range("at least 0 and below 2^63", "seed")
        self.check_range("at least 0 and below 1", "ema", "warmup_fraction")
        self.check("faded_share", 0 <= self.faded_share <= 1, "0 to 1")
        is_multiple = self.crop >= CROP_MULTIPLE and self.crop % CROP_MULTIPLE == 0
        self.check("crop", is_multiple, f"a multiple of {CROP_MULTIPLE}")


def read_table(path: Path) -> dict[str, Any]:
    """The keys of a TOML file.

    Raises:
        ValueError: It is not TOML.
    """
    with path.open("rb") as file:  # TOML is UTF-8 whatever the locale
        table: dict[str, Any] = tomllib.load(file)
    return table


def parse_config(kind: type[Config], table: dict[str, Any], path: Path) -> Config:
    """A training file's table as its dataclass; `model`, which says whose file it is, is not one of its keys.

    Raises:
        ValueError: A key is unknown, a required one is missing, or a value is of another type.
    """
    given = {name: value for name, value in table.items() if name != "model"}
    known = {field.name: field for field in fields(kind)}
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ValueError(f"unknown key `{unknown[0]}` in `{path}`; known are {', '.join(known)}")
    required = {
        name
        for name, field in known.items()
        if field.default is MISSING and field.default_factory is MISSING
    }
    missing = sorted(required - set(given))
    if missing:
        raise ValueError(f"`{path}` lacks `{missing[0]}`")
    for name, value in given.items():
        wanted = str(known[name].type).removesuffix(" | None")
        if wanted in TOML_TYPES and type(value) not in TOML_TYPES[wanted]:
            word = TOML_WORDS[wanted]
            raise ValueError(f"`{name}` in `{path}` is {word}, not {value!r}")
        if wanted == "Path":
            given[name] = Path(value)
        if isinstance(value, list):
            given[name] = tuple(value)
    return kind(**given)


def load_config(path: Path) -> TrainConfig:
    """Read a TOML file; relative paths are taken from the current folder, as on a command line.

    Raises:
        ValueError: A key is unknown, a required one is missing, or a value is out of its range.
    """
    return parse_config(TrainConfig, read_table(path), path)
