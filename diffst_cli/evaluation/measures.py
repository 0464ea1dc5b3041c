"""The metrics of `diffst evaluate`: how each is measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from diffst_cli.errors import UsageError, UserError
from diffst_cli.evaluation.measuring import read_luma, read_rgb, vmaf
from diffst_cli.evaluation.network_metrics import (
    NETWORKS,
    measure_by_network,
    measure_tlp,
    open_network,
)
from diffst_cli.evaluation.scores import Series

if TYPE_CHECKING:
    from torch import Tensor

# Known, but nothing we could call: what to do instead.
NOT_PACKAGED = {
    "dover": "no package has it: run github.com/VQAssessment/DOVER on the folders in `outputs`",
    "flolpips": "no package has it: run github.com/danier97/flolpips on the folders in `outputs`",
}


@dataclass(frozen=True, kw_only=True)
class Pair:
    """An output and its reference, frame by frame."""

    output: Path
    """What a system made."""
    reference: Path
    """The true video."""
    luma: Tensor
    """Planes of the output, (T, H, W) uint8."""
    true_luma: Tensor
    """Planes of the reference, same shape."""

    @cached_property
    def rgb(self) -> Tensor:
        """Frames of the output, (T, H, W, 3) uint8."""
        return read_rgb(self.output, self.luma.shape)

    @cached_property
    def true_rgb(self) -> Tensor:
        """Frames of the reference, same shape."""
        return read_rgb(self.reference, self.luma.shape)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """Something to measure."""

    name: str
    """What `--metrics` calls it."""
    measure: Callable[[Pair], Mapping[str, Series]]
    """Its numbers, by the names that `scores.COLUMNS` reads."""
    version: int = 2
    """Of kept scores: raise it when the numbers change."""


def _psnr(pair: Pair) -> dict[str, Series]:
    from diffst.metrics import psnr

    return {"psnr_y": tuple(psnr(pair.luma, pair.true_luma).tolist())}


def _ssim(pair: Pair) -> dict[str, Series]:
    from diffst.metrics import ssim

    return {"ssim": tuple(ssim(pair.luma, pair.true_luma).tolist())}


def _ms_ssim(pair: Pair) -> dict[str, Series]:
    from diffst.metrics import MIN_MULTI_SCALE_SIZE, ms_ssim

    if min(pair.luma.shape[1:]) < MIN_MULTI_SCALE_SIZE:  # not defined; the other metrics are
        return {"ms_ssim": (math.nan,) * len(pair.luma)}
    return {"ms_ssim": tuple(ms_ssim(pair.luma, pair.true_luma).tolist())}


def _vmaf(pair: Pair) -> dict[str, Series]:
    return {"vmaf": vmaf(pair.output, pair.reference, pair.luma.shape)}


def _frame_difference(pair: Pair) -> dict[str, Series]:
    from diffst.metrics import frame_difference_error

    errors = frame_difference_error(pair.luma, pair.true_luma)
    return {"frame_difference": tuple(errors.tolist())}


def _warping(pair: Pair) -> dict[str, Series]:
    from diffst.metrics import warping_error

    mine, true = warping_error([pair.luma, pair.true_luma], pair.true_luma)
    return {"warping": tuple(mine.tolist()), "true_warping": tuple(true.tolist())}


def _flow(pair: Pair) -> dict[str, Series]:
    from diffst.metrics import flow_error

    return {"tof": tuple(flow_error(pair.luma, pair.true_luma).tolist())}


def _by_network(name: str) -> Metric:
    return Metric(
        name=name,
        measure=lambda pair: {name: measure_by_network(name, pair.rgb, pair.true_rgb)},
    )


OWN = {
    "psnr": Metric(name="psnr", measure=_psnr),
    "ssim": Metric(name="ssim", measure=_ssim),
    "ms-ssim": Metric(name="ms-ssim", measure=_ms_ssim),
    "vmaf": Metric(name="vmaf", measure=_vmaf),
    "frame-difference": Metric(name="frame-difference", measure=_frame_difference),
    "warping": Metric(name="warping", measure=_warping),
    "tof": Metric(name="tof", measure=_flow),
}
METRICS = (
    OWN
    | {name: _by_network(name) for name in NETWORKS}
    | {
        "tlp": Metric(
            name="tlp", measure=lambda pair: {"tlp": measure_tlp(pair.rgb, pair.true_rgb)}
        )
    }
)


def parse_metrics(names: Sequence[str]) -> tuple[Metric, ...]:
    """The metrics of these names, ready to measure.

    Raises:
        UsageError: None is named, or one is unknown.
        UserError: One is not available here; the hint says how to get it.
    """
    if not names:
        raise UsageError("no metric to measure", hint=f"one of: {', '.join(METRICS)}")
    for name in names:
        if name in NOT_PACKAGED:
            raise UserError(f"metric `{name}` is not available", hint=NOT_PACKAGED[name])
        if name not in METRICS:
            raise UsageError(f"unknown metric `{name}`", hint=f"one of: {', '.join(METRICS)}")
    for name in names:
        if name not in OWN:
            open_network(name)
    return tuple(METRICS[name] for name in names)


def how_to_get(metrics: Sequence[Metric]) -> list[str]:
    """Of each kind of metric that was not measured, which they are and what to do for them; a line each."""
    measured = {metric.name for metric in metrics}
    install = "" if find_spec("pyiqa") else " after `pip install 'diffst[metrics]'`"
    lines = []
    for kind, first in ((OWN, ""), (METRICS.keys() - OWN.keys(), install)):
        left = [f"`{name}`" for name in METRICS if name in kind and name not in measured]
        if left:
            lines.append(f"{', '.join(left)}: name them in `--metrics`{first}")
    return lines + [f"`{name}`: {what}" for name, what in NOT_PACKAGED.items()]


def read_pair(output: Path, reference: Path) -> tuple[Tensor, Tensor]:
    """Luma of an output and of its reference, cut to an odd number of frames, (T, H, W) uint8 each.

    Raises:
        UserError: A video cannot be read.
    """
    true = read_luma(reference)
    true = true[: len(true) - 1 + len(true) % 2]  # the last frame is one that the input kept
    return read_luma(output, max_frames=len(true)), true
