"""The gates against what the reference made, and training them alone."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from diffst.star.liem import SpatialLIEM, TemporalLIEM, train_liem_only

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.mark.parametrize(("kind", "gate"), [("spatial", SpatialLIEM), ("temporal", TemporalLIEM)])
def test_a_gate_gives_what_the_reference_gives(kind, gate):
    fixture = load_file(FIXTURES / "star_liem.safetensors")
    liem = gate()
    liem.load_state_dict({"conv1.weight": fixture[f"{kind}/weight"]}, strict=True)
    torch.testing.assert_close(liem(fixture[f"{kind}/x"]), fixture[f"{kind}/y"])


class Gated(nn.Module):
    """Both gates and something else."""

    def __init__(self):
        super().__init__()
        self.project = nn.Linear(3, 3)
        self.spatial = SpatialLIEM()
        self.temporal = TemporalLIEM()


def test_training_the_gates_alone_freezes_the_rest():
    model = Gated()
    parameters = train_liem_only(model)
    assert sum(parameter.numel() for parameter in parameters) == 98 + 2
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert learning == {"spatial.conv1.weight", "temporal.conv1.weight"}


def test_a_model_without_gates_is_refused():
    with pytest.raises(ValueError, match="`Linear` has no local"):
        train_liem_only(nn.Linear(2, 2))
