"""Two tiny clips and a tiny pipeline that can learn them."""

import dataclasses
from collections.abc import Iterator
from itertools import count

import numpy as np
import torch
import torch.nn.functional as F

from diffst.training.windows import Batch
from diffst.wan import DiffSTWanPipeline, build_random
from diffst.wan.sizes import SIZES
from diffst.wan.training.clips import ClipBatch
from diffst.wan.training.stages import Sample

SIDE = 16  # low-resolution pixels
KEYFRAMES = 7  # of a window of 5 frames, 2 latents
WIDE = dataclasses.replace(
    SIZES["tiny"], transformer={**SIZES["tiny"].transformer, "attention_head_dim": 64}
)


def toy_pipeline(monkeypatch) -> DiffSTWanPipeline:
    """Random weights; the transformer is wide enough to know two clips by heart and starts from no change."""
    monkeypatch.setitem(SIZES, "wide", WIDE)
    pipeline = build_random("wide", dtype=torch.float32)
    torch.nn.init.zeros_(pipeline.transformer.proj_out.weight)
    torch.nn.init.zeros_(pipeline.vrg.out.weight)
    # Pictures stay within black and white.
    pipeline.codec.vae.decoder.conv_out.weight.data.mul_(0.2)
    return pipeline


def pictures(seed: int, side: int) -> torch.Tensor:
    """Two smooth pictures, (2, 3, side, side) in [0, 1]."""
    coarse = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, size=(side, side), mode="bicubic").clamp(0, 1)


def toy_batch(targets: torch.Tensor | None = None) -> Batch:
    """Two windows that stand still; every second keyframe is half as bright as the truth.

    Args:
        targets: (2, 5, 3, 64, 64) in [0, 1] as the truth, else the pictures that the bright keyframes are of.
    """
    large = pictures(0, 4 * SIDE)
    small = F.interpolate(large, scale_factor=0.25, mode="bicubic", antialias=True).clamp(0, 1)
    light = torch.tensor([1.0, 0.5] * KEYFRAMES)[:KEYFRAMES].view(1, -1, 1, 1, 1)
    truth = large.unsqueeze(1).expand(-1, 5, -1, -1, -1) if targets is None else targets
    return Batch(
        keyframes=to_bytes(small.unsqueeze(1) * light),
        flows=torch.zeros(2, KEYFRAMES - 1, 2, 2, SIDE, SIDE),
        targets=to_bytes(truth),
        interpolate=torch.ones(2, dtype=torch.bool),
    )


def to_bytes(values: torch.Tensor) -> torch.Tensor:
    """[0, 1] as uint8."""
    return (values.clamp(0, 1) * 255).round().to(torch.uint8)


def sample(batch: Batch | ClipBatch) -> Sample:
    return Sample.of(batch, torch.device("cpu"))


class ToyData:
    """Stands in for the data: the same two windows, in the order that seed and step say, shared among processes."""

    left_out: list[str] = []  # noqa: RUF012  (an empty one, which nobody adds to)

    def __init__(self, batch: Batch, seed: int = 0) -> None:
        self.given = batch
        self.seed = seed

    def batches(self, *, first_step: int, process: int, num_processes: int) -> Iterator[Batch]:
        for step in count(first_step):
            order = np.random.default_rng((self.seed, step)).permutation(2).tolist()
            mine = order[process::num_processes]
            yield Batch(**{name: value[mine] for name, value in vars(self.given).items()})
