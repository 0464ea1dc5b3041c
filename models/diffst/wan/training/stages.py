"""The three stages of training at Wan's size: what each compares, for a batch of windows.

Stage 0 teaches CFCA alone, stage 1 all that learns in the space of latents, stage 2 in the space of
pixels. The VAE stays as it is in all of them. Its encoder runs without gradients, so CFCA learns
from its own frames only: a backward pass through the encoder would hold tens of GB at real size.

Source: the two spaces and the consistency loss are in DiffST's figure (arXiv 2605.13182); weights and
rates are ours, after DOVE (arXiv 2505.16239).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffst.cfca import Instants
from diffst.reach import CONTEXT_KEYFRAMES
from diffst.training import losses
from diffst.training.frequency import MAX_TIMESTEP, dynamic_frequency
from diffst.training.windows import Batch
from diffst.transformer import null_guidance, one_step
from diffst.wan.codec import WanCodec, WanDecoder
from diffst.wan.pipeline import DiffSTWanPipeline
from diffst.wan.sizes import TIME_STRIDE
from diffst.wan.training.clips import ClipBatch
from diffst.wan.training.perceptual import NETWORKS, PerceptualLoss

FACTOR = 4  # high-resolution pixels along each side of a low-resolution one
FIRST_TARGET = CONTEXT_KEYFRAMES


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What a stage trains, how fast, and for which losses."""

    rates: dict[str, float]
    """Learning rate of each component that is trained."""
    weights: dict[str, float]
    """Of each loss."""
    options: tuple[str, ...] = ()
    """Losses that are made only where a run gives them a weight."""


STAGES = (
    Stage(rates={"cfca": 1e-4}, weights={"cfca": 1.0}),
    Stage(
        rates={"cfca": 1e-4, "vrg": 1e-4, "transformer": 2e-5},
        weights={"latent": 1.0, "cfca": 0.1},
    ),
    Stage(
        rates={"cfca": 5e-6, "vrg": 5e-6, "transformer": 5e-6},
        weights={
            "reconstruction": 1.0,
            "spectrum": 1.0,
            "consistency": 1.0,
            "latent": 0.1,
            "cfca": 0.1,
        },
        options=("frequency", *NETWORKS),
    ),
)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """B windows of K keyframes and T true frames on the device."""

    keyframes: Tensor
    """(B, K, 3, h, w) float32 in [0, 1]."""
    flows: Tensor
    """(B, K - 1, 2, 2, h, w) float32."""
    targets: Tensor
    """(B, T, 3, 4h, 4w) float32 in [0, 1]."""
    small: Tensor
    """(B, T, 3, h, w) float32 in [0, 1]: what CFCA shall make."""
    instants: Instants
    """Of the T targets, in every window."""
    interpolate: Tensor
    """(B,) bool: whether the frames between keyframes are true motion."""

    @classmethod
    def of(cls, batch: Batch | ClipBatch, device: torch.device) -> Sample:
        """A batch of either data set as floats.

        CFCA's part in it is to make the degraded frames that were dropped; where they are not known, the true ones
        made small stand for them.
        """
        targets = batch.targets.to(device).float().div(255)
        known = batch.small if isinstance(batch, ClipBatch) else None
        small = shrunk(targets) if known is None else known.to(device).float().div(255)
        return cls(
            keyframes=batch.keyframes.to(device).float().div(255),
            flows=batch.flows.to(device),
            targets=targets,
            small=small,
            instants=asked_instants(batch),
            interpolate=batch.interpolate.to(device),
        )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the targets."""
        return self.targets.shape[-2], self.targets.shape[-1]

    def parts(self, count: int) -> list[Sample]:
        """The windows in order, in so many samples of as many windows each."""
        size = len(self.keyframes) // count
        windows = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        return [
            Sample(**vars(self) | {name: value[n : n + size] for name, value in windows.items()})
            for n in range(0, count * size, size)
        ]


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Which of a window's latents are trained on, the same for all windows of a step."""

    first: int
    """That the step sees, 0 or 1. Of a video the first latent holds one frame; its later windows begin with four."""
    run: range
    """That stage 2 decodes, from `first` on."""

    @classmethod
    def of_step(cls, seed: int, step: int, num_latents: int, length: int) -> Cut:
        """What a training step trains on, at random.

        Args:
            seed: Of the run.
            step: Its number.
            num_latents: L of the windows; a picture has 1, which is always seen.
            length: Latents that stage 2 decodes, or all that the step sees if these are fewer.
        """
        # A stream of its own: what a step's windows have in common is drawn from the seed and the number alone.
        rng = np.random.default_rng(np.random.SeedSequence((seed, step), spawn_key=(0,)))
        first = int(rng.integers(2)) if num_latents > 1 else 0
        length = min(length, num_latents - first)
        start = int(rng.integers(first, num_latents - length + 1))
        return cls(first=first, run=range(start, start + length))


def instants(num_keyframes: int) -> Instants:
    """Those of a prepared window's targets: keyframe 2, halfway, keyframe 3, ..., keyframe K - 3."""
    return [(n // 2, 0.5 * (n % 2)) for n in range(2 * FIRST_TARGET, 2 * (num_keyframes - 3) + 1)]


def asked_instants(batch: Batch | ClipBatch) -> Instants:
    """Those of a batch's targets."""
    return batch.instants if isinstance(batch, ClipBatch) else instants(batch.keyframes.shape[1])


def shrunk(clips: Tensor) -> Tensor:
    """Clips (B, T, 3, 4h, 4w) in [0, 1] as (B, T, 3, h, w), bicubic."""
    small = F.interpolate(
        clips.flatten(0, 1), scale_factor=1 / FACTOR, mode="bicubic", antialias=True
    )
    clip: Tensor = small.clamp(0, 1).unflatten(0, clips.shape[:2])
    return clip


class StageModel(nn.Module):
    """The parts that a stage trains, as one module whose forward pass is the stage's losses.

    What trains on several devices wraps a module and sees what goes through its forward pass. The parts that stay as
    they are, the codec above all, are used but not held.
    """

    def __init__(
        self,
        stage: int,
        pipeline: DiffSTWanPipeline,
        options: Mapping[str, PerceptualLoss | None] | None = None,
        *,
        bfloat16: bool = False,
    ) -> None:
        """Take over the parts of a pipeline.

        Args:
            stage: 0, 1 or 2.
            pipeline: Its parts that the stage trains become this module's.
            options: The stage's optional losses that are wanted, a network each or None.
            bfloat16: Compute so where autocast does.
        """
        super().__init__()
        self.stage = stage
        self.pipeline = pipeline
        self.options = dict(options or {})
        self.autocasts = bfloat16
        for name in STAGES[stage].rates:
            if pipeline.components[name] is not None:
                self.add_module(name, pipeline.components[name])

    def forward(self, sample: Sample, cut: Cut) -> dict[str, Tensor]:
        """Each loss of a batch in float32, not weighted; see `loss_terms`."""
        device = sample.keyframes.device.type
        # In here, not around: what wraps this module to spread it would shorten weights in its own way, or undo ours.
        with torch.autocast(device, torch.bfloat16, enabled=self.autocasts):
            terms = loss_terms(self.stage, self.pipeline, sample, cut, self.options)
        return {name: term.float() for name, term in terms.items()}


def loss_terms(
    stage: int,
    pipeline: DiffSTWanPipeline,
    sample: Sample,
    cut: Cut,
    options: Mapping[str, PerceptualLoss | None] | None = None,
) -> dict[str, Tensor]:
    """Each loss of a stage for a batch, not weighted.

    Each is the mean of the windows' own, so windows may be spread over devices, and the devices' losses averaged.

    Args:
        stage: 0, 1 or 2.
        pipeline: The one that is trained; its codec is never changed.
        sample: The windows; T is 4 k + 1.
        cut: What of their latents is trained on.
        options: The stage's optional losses that are wanted, a network each or None.
    """
    frames = aggregated(pipeline, sample)
    picture = frames.shape[1] == 1  # of a single instant: no new frame, no change
    terms = {"cfca": nothing(pipeline.cfca) if picture else cfca_loss(frames, sample)}
    if stage == 0:
        return terms
    given = encoded(pipeline.codec, frames, sample.size)
    true = encoded(pipeline.codec, sample.targets, sample.size)
    # What the step does not see is as if made before, without error, by a window before.
    later = stepped(pipeline, given[:, cut.first :], sample.keyframes)
    made = torch.cat((true[:, : cut.first], later), dim=1)
    terms["latent"] = latent_loss(made, true, sample.interpolate)
    if stage == 2:
        shown, seen = counted_frames(pipeline.codec, made, sample, cut.run)
        terms |= pixel_losses(losses.to_ycbcr(shown - seen))
        for name, network in (options or {}).items():
            if network is None:
                time = min(pipeline.config.timestep, MAX_TIMESTEP)
                terms[name] = dynamic_frequency(shown * 2 - 1, seen * 2 - 1, time)
            else:
                terms[name] = network(shown.flatten(0, 1), seen.flatten(0, 1))
    return terms


def nothing(part: nn.Module) -> Tensor:
    """0, with a gradient of 0 for each weight of a part: devices wait for each other's gradients of all of them."""
    return 0 * torch.stack([parameter.sum() for parameter in part.parameters()]).sum()


def aggregated(pipeline: DiffSTWanPipeline, sample: Sample) -> Tensor:
    """CFCA's frames at the targets' instants, (B, T, 3, h, w)."""
    return torch.stack(
        [
            pipeline.cfca(frames, flows, sample.instants)
            for frames, flows in zip(sample.keyframes, sample.flows, strict=True)
        ]
    )


@torch.no_grad()
def encoded(codec: WanCodec, clips: Tensor, size: tuple[int, int]) -> Tensor:
    """Latents (B, L, C, H / 8, W / 8) of clips (B, T, 3, h, w), enlarged to `size`; held fixed."""
    return torch.stack([codec.encode(clip, clip.unsqueeze(1), size).latents for clip in clips])


def stepped(pipeline: DiffSTWanPipeline, latents: Tensor, keyframes: Tensor) -> Tensor:
    """The one step on each window, (B, L, C, h, w): all latents of a window see each other."""
    if pipeline.vrg is None:
        guidance = null_guidance(pipeline.transformer).to(latents.device)
    else:
        guidance = pipeline.vrg(keyframes)
    made = one_step(
        pipeline.transformer,
        latents.flatten(0, 1),
        guidance,
        timestep=pipeline.config.timestep,
        sigma=pipeline.config.sigma,
        window_latents=latents.shape[1],
    )
    per_window: Tensor = made.unflatten(0, latents.shape[:2])
    return per_window


def cfca_loss(frames: Tensor, sample: Sample) -> Tensor:
    """Charbonnier distance of the new frames, (B, T, 3, h, w), to those that were dropped, where motion is true."""
    new = [number for number, (_, alpha) in enumerate(sample.instants) if alpha > 0]
    error = losses.to_ycbcr(frames[:, new] - sample.small[:, new])
    return losses.charbonnier(error * sample.interpolate.view(-1, 1, 1, 1, 1))


def latent_loss(made: Tensor, true: Tensor, interpolate: Tensor) -> Tensor:
    """L_latent: mean squared distance of (B, L, C, h, w); of a window without true motion the first latent alone.

    The first latent holds one frame, a keyframe; every other holds new frames too, and counts as without error.
    """
    first = torch.arange(made.shape[1], device=made.device) == 0
    counts = (interpolate.unsqueeze(1) | first)[:, :, None, None, None]
    return losses.latent(made * counts, true * counts)


def counted_frames(
    codec: WanCodec, latents: Tensor, sample: Sample, run: range
) -> tuple[Tensor, Tensor]:
    """Frames of a run of latents, (B, L, C, h, w), and the true ones, both (B, T', 3, H, W).

    Where motion is not true, the true frame stands on both sides of a new one, which so teaches nothing.
    """
    made = torch.stack([decoded_run(codec, window, sample.size, run) for window in latents])
    frames = frames_of(run)
    alphas = torch.tensor([alpha for _, alpha in sample.instants], device=made.device)
    kept = alphas[frames] == 0
    counts = (sample.interpolate.unsqueeze(1) | kept)[:, :, None, None, None]
    true = sample.targets[:, frames]
    return torch.where(counts, made, true), true


def pixel_losses(error: Tensor) -> dict[str, Tensor]:
    """L_rec, L_perc's stand-in and L_consis of (B, T', 3, H, W) as `to_ycbcr` gives it."""
    still = error.shape[1] == 1
    return {
        "reconstruction": losses.reconstruction(error),
        "spectrum": losses.spectrum(error),
        "consistency": error.new_zeros(()) if still else losses.consistency(error),
    }


def decoded_run(codec: WanCodec, latents: Tensor, size: tuple[int, int], run: range) -> Tensor:
    """Frames of some latents of a clip, as decoding the whole clip gives them.

    What comes before is decoded too, since the VAE looks back, but without gradients, so only the run takes memory.

    Args:
        codec: Not changed.
        latents: (L, C, h, w), normalised.
        size: Height and width of the frames.
        run: Neighbouring latents.

    Returns:
        (T', 3, height, width) float32: the frames `frames_of(run)`.
    """
    decoder = WanDecoder(codec, size)
    with torch.no_grad():
        for latent in latents[: run.start].split(1) if run.start else ():
            list(decoder.feed(latent))
    return torch.cat(list(decoder.feed(latents[run.start : run.stop])))


def frames_of(run: range) -> slice:
    """Which frames of a clip some latents hold."""
    first = 0 if run.start == 0 else TIME_STRIDE * (run.start - 1) + 1
    return slice(first, TIME_STRIDE * (run.stop - 1) + 1)
