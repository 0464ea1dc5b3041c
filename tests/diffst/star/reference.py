"""Numbers that STAR's reference implementation gave, recorded once (see `fixtures/README.md`)."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

FIXTURES = Path(__file__).parent / "fixtures"


def tensors(name: str, prefix: str = "") -> dict[str, Tensor]:
    """The tensors of a file whose names start with `prefix`, which is taken off."""
    return {
        key.removeprefix(prefix): value
        for key, value in load_file(FIXTURES / f"{name}.safetensors").items()
        if key.startswith(prefix)
    }


def table(name: str) -> Any:
    """The content of a JSON file."""
    return json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))


# Of values that reach 25; the order of sums in float32 depends on the number of threads.
RELATIVE = 1e-5


def assert_near(made: Tensor, known: Tensor, tolerance: float, name: str = "") -> None:
    """Fail where any value is further than `tolerance` and `RELATIVE` of it from the known one."""
    torch.testing.assert_close(
        made, known, rtol=RELATIVE, atol=tolerance, msg=lambda message: f"{name}: {message}"
    )
