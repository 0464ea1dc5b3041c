"""Parts of a pipeline on the device only while they work."""

from __future__ import annotations

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline


class Offload:
    """Moves a pipeline's parts between the device and main memory, or leaves all of them on the device.

    Args:
        pipeline: On the device.
        device: On a CPU nothing is ever moved.
    """

    def __init__(self, pipeline: DiffusionPipeline, device: torch.device) -> None:
        self.pipeline = pipeline
        self.device = device
        self.active = False

    def __call__(self, *, wanted: bool) -> None:
        """Keep parts in main memory until they work, from the next call on, or all on the device."""
        wanted = wanted and self.device.type != "cpu"
        if wanted and not self.active:
            self.pipeline.enable_model_cpu_offload(device=self.device)
        elif self.active and not wanted:
            self.pipeline.remove_all_hooks()
            self.pipeline.to(self.device)
        self.active = wanted
