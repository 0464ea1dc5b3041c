import math

import torch

from diffst.fading import ramp


def test_the_ramp_is_a_cosine_that_reaches_neither_end():
    expected = [0.5 - 0.5 * math.cos(math.pi * (i + 0.5) / 4) for i in range(4)]
    torch.testing.assert_close(ramp(4), torch.tensor(expected))
    assert 0 < ramp(4)[0] < ramp(4)[-1] < 1
    torch.testing.assert_close(ramp(5) + ramp(5).flip(0), torch.ones(5))
    assert ramp(0).shape == (0,)
