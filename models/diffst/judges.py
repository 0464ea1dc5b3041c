"""Networks that judge pictures, through pyiqa (the `metrics` extra), which also fetches their weights."""

from __future__ import annotations

from typing import Any


class NoJudgeError(ValueError):
    """A network cannot be had: why, and what to do."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(f"{reason}; {hint}")
        self.reason = reason
        self.hint = hint


def open_judge(network: str, asked: str, **options: Any) -> Any:
    """A network, loaded; weights are downloaded on first use.

    Args:
        network: pyiqa's name of it.
        asked: What it is wanted for, which the error begins with.
        options: Of pyiqa's `create_metric`.

    Raises:
        NoJudgeError: pyiqa is not installed, or the weights are not here and cannot be fetched.
    """
    missing = f"{asked} is not available"
    try:
        import pyiqa
    except (ImportError, RuntimeError) as error:  # RuntimeError: torchvision for another torch
        raise NoJudgeError(
            f"{missing}: {error}",
            "run `pip install 'diffst[metrics]'`, with the torchvision that belongs to this torch",
        ) from error
    try:
        return pyiqa.create_metric(network, **options)
    except ImportError as error:  # some of its networks need packages that it does not bring
        raise NoJudgeError(
            f"{missing}: {error}",
            "install what it names; `pkg_resources` comes with `pip install 'setuptools<81'`",
        ) from error
    except OSError as error:  # of urllib, requests and huggingface_hub alike
        raise NoJudgeError(
            f"{missing}: its weights cannot be fetched: {error}",
            "run it once with a network, or copy `~/.cache/torch/hub` and `~/.cache/huggingface` from a machine that "
            "has one",
        ) from error
