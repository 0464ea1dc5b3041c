"""DiffSTPipeline: one clip in, one clip out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from torch import Tensor

from diffst.cfca import CFCA, Instants, check_instants
from diffst.codec import NanoCodec
from diffst.lanes import in_order, num_lanes
from diffst.neighbourhood import ClipMotion, Neighbourhood, Remembered
from diffst.settling import Settling, neighbours_of
from diffst.tiling import Canvas, Tile, tiles
from diffst.transformer import null_guidance, one_step
from diffst.vrg import VideoGuidance

OnStage = Callable[[str, float], None]
StageClock = Callable[[str], AbstractContextManager[None]]
OnProgress = Callable[[str, int, int], None]
"""Told, while a stage lasts, its name, how much of it is done, and how much there is to do."""

# Low-resolution pixels at once: keeps each tensor small enough for the allocator to give its memory back to the next
# one; larger ones are mapped anew each time, which costs more than they take to fill.
GROUP_PIXELS = 320 * 180


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One tile of a few frames, to be made."""

    around: Neighbourhood
    """The keyframes that the frames depend on."""
    tile: Tile
    output_type: torch.dtype
    """Of the finished tile."""
    frames: FramesInWork
    """What it is a tile of."""


@dataclass(frozen=True, kw_only=True)
class FramesInWork:
    """A few frames that go through the codec together."""

    start: int
    """Number of the first in the clip."""
    canvas: Canvas
    """Where their tiles belong."""
    neighbours: Tensor
    """(I, 6, H, W), see `neighbours_of`."""
    last_tile: Tile


class DiffSTPipeline(DiffusionPipeline):  # type: ignore[misc]
    """Space-time super-resolution of one clip in one diffusion step.

    Args:
        cfca: Makes the frame of each instant from several keyframes.
        vrg: Video-level guidance; None runs the transformer without it.
        transformer: Wan transformer of any size.
        codec: Pictures to latents and back.
        timestep: The one timestep, in 0..1000.
        sigma: Length of the one step.
        window_latents: Latents in time that see each other in the transformer.
    """

    _optional_components = ["vrg"]  # noqa: RUF012  (diffusers reads it from the class)
    model_cpu_offload_seq = "cfca->vrg->transformer->codec"

    def __init__(
        self,
        cfca: CFCA,
        vrg: VideoGuidance | None,
        transformer: WanTransformer3DModel,
        codec: NanoCodec,
        timestep: float = 399.0,
        sigma: float = 0.4,
        window_latents: int = 1,
    ) -> None:
        super().__init__()
        self.register_modules(cfca=cfca, vrg=vrg, transformer=transformer, codec=codec)
        self.register_to_config(timestep=timestep, sigma=sigma, window_latents=window_latents)
        # Low-resolution pixels of a tile's side where memory is short; a matter of the machine, so not saved.
        self.longest_tile: int | None = None
        self._before: Remembered | None = (
            None  # of the last clip: neighbouring clips share keyframes
        )

    @torch.inference_mode()
    def __call__(
        self,
        frames: Tensor,
        instants: Instants,
        size: tuple[int, int],
        *,
        output_type: torch.dtype = torch.float32,
        on_stage: OnStage | None = None,
    ) -> Tensor:
        """Make the frames of the asked instants at the asked size.

        Args:
            frames: (T, 3, H, W) float32 in [0, 1], uint8 or uint16: keyframes of one shot, in time order.
            instants: For each output frame the keyframe n before it and alpha in [0, 1), how far towards n + 1 it lies.
            size: Output height and width in pixels.
            output_type: torch.float32, range [0, 1], or torch.uint8 or torch.uint16, full range and rounded.
            on_stage: Told the name of each finished stage and the seconds it took; a stage may report many times.

        Returns:
            (len(instants), 3, height, width) of `output_type`.

        Raises:
            ValueError: An instant lies outside the clip.
        """
        check_instants(instants, len(frames))
        lanes = num_lanes(frames.device)
        made = torch.empty(len(instants), 3, *size, dtype=output_type, device=frames.device)
        # 1. What kind of video is this.
        with stage_clock(on_stage, frames.device)("vrg"):
            guidance = self.guidance(frames.unsqueeze(0))
        # Then a few frames at a time, so that memory does not grow with the clip, some on each core.
        stage = stage_clock(on_stage, frames.device, lanes)
        make = partial(self.make, guidance=guidance, stage=stage)
        settling = Settling(made, instants)
        pieces = self.cut_up(frames, instants, made, on_stage)
        for piece, picture, neighbours in in_order(make, pieces, lanes):
            group = piece.frames
            group.canvas.add(picture, piece.tile)
            if neighbours is not None:
                rows, columns = piece.tile.window
                group.neighbours[..., rows, columns] = neighbours
            # 7. New frames take detail from the finished keyframes around.
            if piece.tile is group.last_tile:
                with stage_clock(on_stage, frames.device)("settle"):
                    settling.finished(group.start, group.neighbours)
        return made

    def cut_up(
        self, frames: Tensor, instants: Instants, made: Tensor, on_stage: OnStage | None
    ) -> Iterator[Piece]:
        """The work of a clip, frames in order and each cut into tiles where it is large."""
        size, seen = (made.shape[-2], made.shape[-1]), (frames.shape[-2], frames.shape[-1])
        motion, group = ClipMotion(frames, self._before), self.group_frames(frames)
        stage = stage_clock(on_stage, frames.device)
        for start in range(0, len(instants), group):
            # 2. Motion between the keyframes around.
            with stage("cfca"):
                around = motion.around(instants[start : start + group])
            cut = list(tiles(seen, size, self.longest_tile))
            work = FramesInWork(
                start=start,
                canvas=Canvas(made[start : start + group]),
                neighbours=torch.zeros(len(around.instants), 6, *seen, device=frames.device),
                last_tile=cut[-1],
            )
            for tile in cut:
                # A small picture is one tile; seams are mixed before they are rounded.
                kind = made.dtype if tile.size == size else torch.float32
                yield Piece(around=around, tile=tile, output_type=kind, frames=work)
        self._before = motion.end()

    @torch.inference_mode()
    def make(
        self, piece: Piece, guidance: Tensor, stage: StageClock
    ) -> tuple[Piece, Tensor, Tensor | None]:
        """A piece, its pixels, (I, 3, *piece.tile.size), and what new ones need of their neighbours, (I, 6, h, w)."""
        # 3. Bring keyframes along the motion to each instant and fuse them, at low resolution.
        with stage("cfca"):
            clip = piece.around.aggregate(self.cfca, piece.tile.window)
            any_new = any(alpha > 0 for _, alpha in piece.around.instants)
            neighbours = neighbours_of(clip) if any_new else None
        # 4. Enlarge plainly, and into the codec.
        with stage("encode"):
            encoded = self.codec.encode(clip.frames, clip.context, piece.tile.size)
        # 5. The one step.
        with stage("dit"):
            latents = self.step(encoded.latents, guidance)
        # 6. Back to pictures.
        with stage("decode"):
            return piece, self.codec.decode(latents, encoded, piece.output_type), neighbours

    def group_frames(self, frames: Tensor) -> int:
        """Frames that go through the codec together: whole transformer windows, about GROUP_PIXELS."""
        area = frames.shape[-2] * frames.shape[-1] * self.config.window_latents
        windows = 1 if self.longest_tile is not None else max(1, GROUP_PIXELS // area)
        return int(windows * self.config.window_latents)

    def guidance(self, clips: Tensor) -> Tensor:
        """Guidance tokens of clips (B, T, 3, H, W): (B, N, text_dim), or for all of them those that say nothing."""
        if self.vrg is None:
            return null_guidance(self.transformer).to(clips.device)
        tokens: Tensor = self.vrg(clips)
        return tokens

    def step(self, latents: Tensor, guidance: Tensor) -> Tensor:
        """The one step with this pipeline's constants."""
        return one_step(
            self.transformer,
            latents,
            guidance,
            timestep=self.config.timestep,
            sigma=self.config.sigma,
            window_latents=self.config.window_latents,
        )


def unwatched(_stage: str, _done: int, _total: int) -> None:
    """The `OnProgress` of nobody."""


def stage_clock(on_stage: OnStage | None, device: torch.device, lanes: int = 1) -> StageClock:
    """A context manager maker that reports how long its body took, GPU work included, as a share of its lane."""

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        if on_stage is not None:
            if device.type == "cuda":
                torch.cuda.current_stream(device).synchronize()  # not copies to main memory
            on_stage(name, (time.perf_counter() - start) / lanes)

    return stage
