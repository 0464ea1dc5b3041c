"""STAR on a GPU: the same frames as on the CPU."""

import pytest
import torch

from diffst.limits import Limits
from diffst.star.settings import StarSettings
from diffst.star.upscaler import load_star
from tests.diffst.star.random_star import save_random

SETTINGS = StarSettings(num_steps=2, window_frames=4)


@pytest.mark.gpu
def test_a_gpu_makes_the_cpus_frames_whole_and_with_parts_moved_in_turn(tmp_path):
    save_random(tmp_path)
    generator = torch.Generator().manual_seed(0)
    clip = torch.randint(0, 256, (5, 3, 16, 20), dtype=torch.uint8, generator=generator)
    instants = [(0, 0.0), (0, 0.5), (1, 0.0), (3, 0.25)]
    results = []
    for device, offload in (("cpu", False), ("cuda", False), ("cuda", True)):
        model = load_star(tmp_path, device=device, precision="fp32", settings=SETTINGS)
        model.keep_within(Limits(latents_per_call=3, offload=offload))
        results.append(model(clip, instants, (64, 80)).int())
    for made in results[1:]:
        difference = (made - results[0]).abs().float()
        assert difference.mean() < 1  # other kernels, and TF32 in convolutions
