import math

import pytest
import torch

from diffst.metrics import MAX_PSNR_DB, psnr


def planes(*levels: int) -> torch.Tensor:
    """One flat 4x6 frame for each level."""
    return torch.tensor(levels, dtype=torch.uint8).view(-1, 1, 1).expand(-1, 4, 6)


def test_a_constant_error_gives_the_closed_form():
    values = psnr(planes(100, 100, 0), planes(101, 90, 255))
    expected = [20 * math.log10(255), 20 * math.log10(255 / 10), 0.0]
    assert values.tolist() == pytest.approx(expected, abs=1e-12)


def test_the_squared_error_is_averaged_before_the_logarithm():
    output = planes(50).clone()
    output[0, :2] += 20  # half of the pixels
    assert psnr(output, planes(50)).item() == pytest.approx(10 * math.log10(255**2 / 200))


def test_identical_frames_get_the_ceiling_and_not_infinity():
    assert psnr(planes(7), planes(7)).tolist() == [MAX_PSNR_DB]


def test_order_of_output_and_reference_does_not_matter():
    left, right = planes(3, 250), planes(200, 7)
    assert torch.equal(psnr(left, right), psnr(right, left))


@pytest.mark.parametrize(
    ("output", "reference", "message"),
    [
        (planes(1), planes(1, 2), r"cannot compare \(1, 4, 6\) with \(2, 4, 6\)"),
        (
            planes(1).float(),
            planes(1),
            r"need \(T, H, W\) uint8 planes, got \(1, 4, 6\) torch.float32",
        ),
        (planes(1)[0], planes(1)[0], r"need \(T, H, W\) uint8 planes, got \(4, 6\)"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    output: torch.Tensor, reference: torch.Tensor, message: str
):
    with pytest.raises(ValueError, match=message):
        psnr(output, reference)
