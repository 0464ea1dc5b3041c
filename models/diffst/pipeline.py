"""DiffSTPipeline: one clip in, one clip out."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial

import torch
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from torch import Tensor

from diffst.cfca import CFCA, Instants
from diffst.codec import NanoCodec
from diffst.finished import BetweenTile, Finished, KeyframesInWork, KeyframeTile, Run
from diffst.fusion import fuse_into
from diffst.given import check_output_type, frames_given, instants_asked, size_given
from diffst.lanes import in_order, num_lanes
from diffst.neighbourhood import ClipMotion, Neighbourhood, Remembered
from diffst.tiling import Canvas, Tile, tiles
from diffst.transformer import null_guidance, one_step
from diffst.vrg import VideoGuidance

OnStage = Callable[[str, float], None]
StageClock = Callable[[str], AbstractContextManager[None]]
OnProgress = Callable[[str, int, int], None]
"""Told, while a stage lasts, its name, how much of it is done, and how much there is to do."""


def unwatched(_stage: str, _done: int, _total: int) -> None:
    """The `OnProgress` of nobody."""


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

    Raises:
        ValueError: A constant is out of range, or no number.
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
        check_constants(timestep, sigma, window_latents)
        self.register_modules(cfca=cfca, vrg=vrg, transformer=transformer, codec=codec)
        self.register_to_config(timestep=timestep, sigma=sigma, window_latents=window_latents)
        # Low-resolution pixels of a tile's side where memory is short; a matter of the machine, so not saved.
        self.longest_tile: int | None = None

    def __call__(
        self,
        frames: Tensor,
        instants: Instants,
        size: tuple[int, int],
        *,
        output_type: torch.dtype = torch.float32,
        on_stage: OnStage | None = None,
        on_progress: OnProgress = unwatched,
    ) -> Tensor:
        """Make the frames of the asked instants at the asked size.

        Args:
            frames: (T, 3, H, W) float in [0, 1], uint8 or uint16: keyframes of one shot, in time order.
            instants: For each output frame the keyframe n before it and alpha in [0, 1), how far towards n + 1 it lies.
            size: Output height and width in pixels.
            output_type: torch.float32, range [0, 1], or torch.uint8 or torch.uint16, full range and rounded.
            on_stage: Told the name of each finished stage and the seconds it took; a stage may report many times.
            on_progress: Told of `pictures`, or `tiles` where they are cut, each time one is finished.

        Returns:
            (len(instants), 3, height, width) of `output_type`.

        Raises:
            TypeError: The frames are no tensor.
            ValueError: An instant lies outside the clip or is no such pair, or there is none; frames are of another
                type or shape, or there are none; or pictures of another type, or of no size, are asked for.
        """
        made, _ = self.next_clip(
            frames,
            instants,
            size,
            None,
            output_type=output_type,
            on_stage=on_stage,
            on_progress=on_progress,
        )
        return made

    @torch.no_grad()
    def next_clip(
        self,
        frames: Tensor,
        instants: Instants,
        size: tuple[int, int],
        before: Remembered | None,
        *,
        output_type: torch.dtype = torch.float32,
        on_stage: OnStage | None = None,
        on_progress: OnProgress = unwatched,
    ) -> tuple[Tensor, Remembered]:
        """As a call, but keyframes that the clip before had too are not made again where they would come out alike.

        Args:
            frames: See `__call__`, as all that is not named here.
            instants: Likewise.
            size: Likewise.
            before: What the clip before left; None begins anew. The pipeline has to be as it was then, its weights and
                `longest_tile` too.
            output_type: See `__call__`.
            on_stage: Likewise.
            on_progress: Likewise.

        Returns:
            The frames that a call gives, and what the clip after this one may go on from.

        Raises:
            TypeError: See `__call__`.
            ValueError: Likewise.
        """
        frames = frames_given(frames)
        check_output_type(output_type)
        instants, size = instants_asked(instants, len(frames)), size_given(size)
        lanes = num_lanes(frames.device)
        made = torch.empty(len(instants), 3, *size, dtype=output_type, device=frames.device)
        # 1. What kind of video is this.
        with stage_clock(on_stage, frames.device)("vrg"):
            guidance = self.guidance(frames.unsqueeze(0))
        # Then a frame at a time on each core, so that memory does not grow with the clip.
        finished = Finished(made, instants, len(frames))
        if before is not None and self.makes_keyframes_alone:
            finished.take_over(before.pictures_of(frames))
        motion = ClipMotion(frames, before)
        cut = list(tiles((frames.shape[-2], frames.shape[-1]), size, self.longest_tile))
        todo = list(finished.in_time(self.config.window_latents))
        pieces = self.cut_up(motion, cut, todo, finished, stage_clock(on_stage, frames.device))
        num_pieces = len(cut) * sum(1 if keyframes else len(new) for keyframes, new in todo)
        make = partial(
            self.make,
            guidance=guidance,
            finished=finished,
            stage=stage_clock(on_stage, frames.device, lanes),
        )
        with closing(in_order(make, pieces, lanes, finished.allow)) as results:
            for number, (piece, picture) in enumerate(results, start=1):
                if isinstance(piece, BetweenTile):
                    finished.forget(piece)
                elif picture is not None:
                    piece.group.canvas.add(picture, piece.tile)
                    if piece.tile is piece.group.last_tile:
                        finished.add(piece.group)
                on_progress("pictures" if len(cut) == 1 else "tiles", number, num_pieces)
        return made, motion.end(finished.pictures)

    @property
    def makes_keyframes_alone(self) -> bool:
        """Whether a keyframe follows from its neighbours: guidance sees the whole clip, a window the next keyframes."""
        return self.vrg is None and self.config.window_latents == 1

    def cut_up(
        self,
        motion: ClipMotion,
        cut: Sequence[Tile],
        todo: Sequence[Run],
        finished: Finished,
        stage: StageClock,
    ) -> Iterator[KeyframeTile | BetweenTile]:
        """The work of a clip in order of time, each picture cut into tiles where it is large."""
        waiting: deque[BetweenTile] = deque()
        # Never more at once: what a convolution makes of a picture may depend on those beside it, in its last bits.
        for keyframes, new in todo:
            # 2. Motion between the keyframes around.
            if keyframes:
                with stage("cfca"):
                    around = motion.around([(n, 0.0) for n in keyframes])
                yield from cut_keyframes(keyframes, around, cut, finished.made)
                # A keyframe late, so that no lane has to wait for the one that they need.
                while waiting and max(waiting[0].keyframes) < keyframes[0]:
                    yield waiting.popleft()
            for index, instant in new:
                with stage("cfca"):
                    around = motion.around([instant])
                waiting += [
                    BetweenTile(
                        around=around,
                        tile=tile,
                        frame=finished.made[index],
                        keyframes=finished.needed(instant),
                    )
                    for tile in cut
                ]
        yield from waiting

    # A lane does not share the caller's mode; in this one it may write into what either mode made.
    @torch.inference_mode()
    def make(
        self,
        piece: KeyframeTile | BetweenTile,
        guidance: Tensor,
        finished: Finished,
        stage: StageClock,
    ) -> tuple[KeyframeTile | BetweenTile, Tensor | None]:
        """A piece, and of keyframes its pixels (N, 3, *piece.tile.size); a new frame is put in its place."""
        if isinstance(piece, BetweenTile):
            # 7. Where each new frame finds what it shows, and the finished keyframes brought there.
            with stage("cfca"):
                ways = piece.around.ways(self.cfca, piece.tile.window)
            with stage("fuse"):
                fuse_into(piece.frame, finished.chosen(piece.around, ways), ways, piece.tile)
            return piece, None
        # 3. Bring the keyframes around along the motion to each.
        with stage("cfca"):
            frames, context = piece.around.context(self.cfca, piece.tile.window)
        # 4. Enlarge plainly, and into the codec.
        with stage("encode"):
            encoded = self.codec.encode(frames, context, piece.tile.size)
        # 5. The one step.
        with stage("dit"):
            latents = self.step(encoded.latents, guidance)
        # 6. Back to pictures.
        with stage("decode"):
            return piece, self.codec.decode(latents, encoded, piece.output_type)

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


def check_constants(timestep: float, sigma: float, window_latents: int) -> None:
    """Raise ValueError for a pipeline's constant that is out of range, or no number, as a file may say."""
    is_time = isinstance(timestep, (int, float)) and 0 <= timestep <= 1000
    is_length = isinstance(sigma, (int, float)) and math.isfinite(sigma)
    is_window = isinstance(window_latents, int) and window_latents > 0
    for is_fit, name, value, wanted in (
        (is_time, "timestep", timestep, "a number in 0..1000"),
        (is_length, "sigma", sigma, "a number"),
        (is_window, "window_latents", window_latents, "a whole number above 0"),
    ):
        if not is_fit:
            raise ValueError(f"`{name}` is {wanted}, not {value!r}")


def cut_keyframes(
    numbers: Sequence[int], around: Neighbourhood, cut: Sequence[Tile], made: Tensor
) -> Iterator[KeyframeTile]:
    """The tiles of keyframes that are made together, as large and of the same type as the frames `made`."""
    size = (made.shape[-2], made.shape[-1])
    pictures = made.new_empty(len(numbers), 3, *size)
    group = KeyframesInWork(
        numbers=numbers, pictures=pictures, canvas=Canvas(pictures), last_tile=cut[-1]
    )
    for tile in cut:
        # A small picture is one tile; seams are mixed before they are rounded.
        kind = made.dtype if tile.size == size else torch.float32
        yield KeyframeTile(around=around, tile=tile, output_type=kind, group=group)


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
