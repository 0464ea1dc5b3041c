"""All levels survive; everything rounds."""

import pytest
import torch

from diffst.pixels import in_range, to_float, to_integer


@pytest.mark.parametrize(("dtype", "levels"), [(torch.uint8, 256), (torch.uint16, 65536)])
def test_every_level_survives_the_way_to_float_and_back(dtype, levels):
    codes = torch.arange(levels, dtype=torch.int32).to(dtype)
    assert torch.equal(to_integer(to_float(codes), dtype).int(), codes.int())


def test_conversion_rounds_to_the_nearest_code_and_clamps():
    values = torch.tensor([-0.1, 0.4999 / 255, 0.5001 / 255, 254.6 / 255, 1.2])
    assert to_integer(values, torch.uint8).tolist() == [0, 0, 1, 255, 255]


def test_what_is_given_out_is_clamped_as_float_too():
    values = torch.tensor([-0.1, 0.25, 1.2])
    assert in_range(values, torch.float32).tolist() == [0, 0.25, 1]
    assert in_range(values, torch.uint8).tolist() == [0, 64, 255]


def test_other_types_are_refused():
    with pytest.raises(ValueError, match="uint8 or uint16"):
        to_float(torch.zeros(1))
    with pytest.raises(ValueError, match="uint8 or uint16"):
        to_integer(torch.zeros(1), torch.int8)
