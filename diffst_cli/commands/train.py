"""`diffst train`: nano's recipe, the stages of a model of Wan's size, and STAR."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffst_cli.commands.options import QuietOption
from diffst_cli.errors import UserError

if TYPE_CHECKING:
    from diffst.star.training.config import StarTrainConfig
    from diffst.training.config import TrainConfig
    from diffst.wan.training.config import WanTrainConfig

LIST_SUFFIX = ".jsonl"


def train(
    config: Annotated[
        Path,
        typer.Argument(
            metavar="CONFIG",
            help="TOML file; keys: docs/guide.md (nano), docs/wan.md, docs/star.md.",
        ),
    ],
    quiet: QuietOption = False,
) -> None:
    """Train nano, a model of Wan's size, or STAR; called again, it goes on where it stopped."""
    from diffst_cli.libraries import load_libraries

    load_libraries()
    from diffst.star.training.config import StarTrainConfig
    from diffst.training.config import TrainConfig
    from diffst_cli.progress import print_note

    wanted = _load(config)
    # Of several processes that train together the first one speaks.
    quiet = quiet or os.environ.get("RANK", "0") != "0"
    if isinstance(wanted, TrainConfig):
        from diffst.training.loop import train as train_nano

        with _told(
            diverged="put it in `start_from`, with another `out` and a lower `learning_rate`",
            too_large="lower `batch_windows` or `crop`",
        ):
            best = train_nano(wanted, report=_say(_sentence, quiet))
        trained = f"the best checkpoint is in `{best}`"
    elif isinstance(wanted, StarTrainConfig):
        from diffst.star.training.loop import train as train_star

        with _told(
            diverged="start again with another `out` and a lower `learning_rate`",
            too_large="lower `crop` or `frames`",
        ):
            trained = f"the model is in `{train_star(wanted, report=_say(_losses, quiet))}`"
    else:
        from diffst.wan.training.loop import train as train_wan

        with _told(
            diverged="start again with another `out` and a lower `rate_factor`",
            too_large="lower `batch_windows`, `crop` or `frames`, or train low-rank updates: `lora_rank = 64`",
        ):
            trained = f"the model is in `{train_wan(wanted, report=_say(_losses, quiet))}`"
    if not quiet:
        print_note(trained)


def _say(
    words: Callable[[dict[str, float]], str], quiet: bool
) -> Callable[[dict[str, float]], None]:
    """Prints the figures of a step, put into `words`."""
    from diffst_cli.progress import print_note

    return lambda figures: None if quiet else print_note(words(figures))


@contextmanager
def _told(*, diverged: str, too_large: str) -> Iterator[None]:
    """Inside, what ends a run becomes a sentence; the arguments are hints."""
    from torch import OutOfMemoryError

    from diffst.training.stopping import StoppedError

    try:
        yield
    except FloatingPointError as error:
        raise UserError(f"{error}", hint=diverged) from error
    except OutOfMemoryError as error:
        raise UserError(f"the device has too little memory: {error}", hint=too_large) from error
    except StoppedError as error:
        hint = "the same command goes on from the last checkpoint, if there is one"
        raise UserError(str(error), hint=hint) from error
    except (FileNotFoundError, ValueError) as error:
        raise UserError(f"this run cannot start: {error}") from error


def _load(path: Path) -> TrainConfig | WanTrainConfig | StarTrainConfig:
    """The run that a file asks for, with the data it needs in place."""
    if not path.is_file():
        raise UserError(f"there is no file `{path}`", hint="nano's recipe is in the package")
    try:
        wanted, folders = _parsed(path)
    except (ValueError, TypeError) as error:
        raise UserError(f"`{path}` is not a training file: {error}") from error
    for folder in folders:
        if not any(folder.glob("*/meta.json")):
            raise UserError(
                f"there are no prepared clips in `{folder}`",
                hint="`python -m diffst.training.prepare OUT --data DIR` makes some in `OUT/train` and, of two "
                "videos or more, in `OUT/validation`",
            )
    return wanted


def _parsed(
    path: Path,
) -> tuple[TrainConfig | WanTrainConfig | StarTrainConfig, tuple[Path, ...]]:
    """The run, by the file's key `model`, and its folders of prepared clips."""
    from diffst.star.names import STAR_MODELS
    from diffst.training.config import load_config, read_table

    table = read_table(path)
    model = table.get("model", "nano")
    if model == "nano":
        nano = load_config(path)
        return nano, (nano.data, nano.validation)
    if model == "wan":
        from diffst.wan.training.config import load_wan_config

        wan = load_wan_config(path)
        sources = (wan.data, *((wan.validation,) if wan.validation else ()))
        return wan, tuple(source for source in sources if not _is_list(source))
    if model in STAR_MODELS:
        from diffst.star.training.config import load_star_config
        from diffst_cli.downloaded import require_ready

        if "start_from" not in table:
            require_ready(model)
        star = load_star_config(path)
        return star, (star.data,)
    known = ", ".join(("nano", "wan", *STAR_MODELS))
    raise ValueError(f"`model` is one of {known}, not {model!r}")


def _is_list(source: Path) -> bool:
    """Whether it is a list of clips, not a folder; one that is not there is an error."""
    if source.suffix == LIST_SUFFIX and not source.exists():
        raise UserError(
            f"there is no list of clips `{source}`",
            hint="`diffst dataset scan FOLDER -o LIST` makes one",
        )
    return source.is_file()


def _sentence(line: dict[str, float]) -> str:
    return (
        f"step {line['step']:.0f}, {line['seconds'] / 60:.1f} min: "
        f"kept {line['kept']:.2f} dB, new {line['new']:.2f} dB"
    )


def _losses(line: dict[str, float]) -> str:
    values = ", ".join(
        f"{name} {value:.4g}" for name, value in line.items() if name not in ("step", "seconds")
    )
    return f"step {line['step']:.0f}, {line['seconds'] / 60:.1f} min: {values}"
