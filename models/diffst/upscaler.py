"""What a model is to the tool: a name, rules, and one call. And the table of the models there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from diffst.attempts import Attempt, plainly
from diffst.checkpoint import load_pipeline, num_parameters, weights_hash
from diffst.folders import EMBEDDED, INDEX_FILE, model_files, model_folder
from diffst.given import frames_given, size_given
from diffst.limits import Limits
from diffst.neighbourhood import Remembered
from diffst.pipeline import DiffSTPipeline, OnProgress, OnStage, unwatched
from diffst.star.load import Sampling, load_any_star
from diffst.star.names import STAR_MODELS, star_pipeline
from diffst.wan.names import DECODERS, TINY_DECODER, TINY_DECODER_FILE, WAN_MODEL
from diffst.wan.pipeline import DiffSTWanPipeline

DESCRIPTIONS = {
    "nano": "DiffST at laptop size: 4x and any frame rate, runs on a plain CPU; in the package",
    "nano-sharp": "nano with a quarter more of the detail it adds: crisper, a little further from the truth",
}
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class ModelRules:
    """How a model wants its clips cut."""

    clip_keyframes: int
    """Keyframes in one clip whose output is asked for, at most."""
    overlap_keyframes: int
    """Keyframes that neighbouring clips share; their output is crossfaded."""
    context_keyframes: int
    """Further keyframes each side that the model sees, without output of their own."""
    max_frames: int | None = None
    """Most frames to make in one clip, keyframes and new ones; None for any number."""


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """One model of the table."""

    name: str
    description: str
    licence: str
    installed: bool
    path: Path
    size_bytes: int
    num_parameters: int
    sha256: str
    """Over all its weight and configuration files; empty where not installed."""


class UpscaleModel(Protocol):
    """What `load_model` gives."""

    name: str
    rules: ModelRules

    def __call__(
        self,
        frames: Tensor,
        instants: Sequence[tuple[int, float]],
        out_size: tuple[int, int],
        on_stage: OnStage | None = None,
        first_keyframe: int = 0,
    ) -> Tensor:
        """Make the frames of a clip's instants.

        Args:
            frames: (T, 3, H, W) uint8, uint16 or float in [0, 1], keyframes of one shot.
            instants: For each frame to make the keyframe before it and how far it lies towards the next, in [0, 1); in
                order of time, which only nano can do without.
            out_size: Height and width in pixels.
            on_stage: Told the name of each finished stage and the seconds it took.
            first_keyframe: The number of the first keyframe in the whole video; what a model draws at random depends
                on it, so that the same frame comes out alike whatever clip it is in.

        Returns:
            (len(instants), 3, *out_size) of the type of `frames`; float32 for any float type.

        Raises:
            TypeError: The frames are no tensor.
            ValueError: An instant lies outside the clip or before the last one, or there is none; or frames are of
                another type or shape, or there are none.
        """


@runtime_checkable
class WatchedModel(Protocol):
    """An `UpscaleModel` whose calls take so long that it tells how far it is with one."""

    def watch(self, on_progress: OnProgress) -> None:
        """Tell it from the next call on."""


class StreamedShot(Protocol):
    """One shot that is handed over clip by clip."""

    def feed(self, frames: Tensor, instants: Sequence[tuple[int, float]]) -> list[Tensor]:
        """Pictures that are finished with the next instants, in order; fewer or more than these.

        Args:
            frames: (T, 3, H, W) uint8, uint16 or float in [0, 1], the keyframes around the instants.
            instants: Those that follow the ones given before, none of them again; positions in `frames`.

        Returns:
            Pieces (N, 3, height, width) of the type of `frames`, float32 for any float type, in main memory.
        """

    def finish(self) -> list[Tensor]:
        """The rest: as many pictures in all as instants were given."""


@runtime_checkable
class StreamingModel(Protocol):
    """An `UpscaleModel` that can go on from one clip of a shot to the next, and then fades nothing."""

    def begin_shot(
        self,
        out_size: tuple[int, int],
        on_stage: OnStage | None = None,
        attempt: Attempt = plainly,
    ) -> StreamedShot | None:
        """A new shot; None where, within its limits, it makes each clip alone.

        Args:
            out_size: Height and width in pixels.
            on_stage: See `UpscaleModel`.
            attempt: Of each part of the work on the device. Where memory runs out, the shot does that part again within
                narrower limits, and goes on.
        """


class DiffSTUpscaler:
    """A DiffST pipeline as the tool sees it, which is not changed while this has it."""

    def __init__(
        self, name: str, pipeline: DiffSTPipeline, device: torch.device, precision: torch.dtype
    ) -> None:
        """Take over the pipeline: move it to the device, its codec to the precision."""
        self.name = name
        self.rules = ModelRules(
            clip_keyframes=12,
            overlap_keyframes=0,  # what is made does not depend on the clip it is in
            context_keyframes=4,  # a new frame looks up two keyframes each side, which see two more
        )
        self.device = device
        self.precision = precision
        pipeline.to(device)
        # Only the convolutions gain from a short type; motion and the tiny transformer stay in float32.
        convolutions: tuple[torch.nn.Module, ...] = (pipeline.codec, pipeline.cfca.score)
        for part in convolutions:
            torch.nn.Module.to(part, dtype=precision)
            part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.pipeline = pipeline
        self.tile: int | None = None  # output pixels
        # Of the last clip, since neighbouring clips share keyframes.
        self._before: Remembered | None = None
        self.on_progress: OnProgress = unwatched

    def keep_within(self, limits: Limits) -> None:
        """See `LimitedModel`; without a tile given, pictures are cut as they are best cut."""
        if limits.tile != self.tile:
            self._before = None  # in other tiles the same keyframes come out otherwise
        self.tile = limits.tile

    def watch(self, on_progress: OnProgress) -> None:
        """See `WatchedModel`."""
        self.on_progress = on_progress

    def __call__(
        self,
        frames: Tensor,
        instants: Sequence[tuple[int, float]],
        out_size: tuple[int, int],
        on_stage: OnStage | None = None,
        first_keyframe: int = 0,  # noqa: ARG002  (nothing here is random)
    ) -> Tensor:
        """See `UpscaleModel`."""
        given = frames_given(frames).to(self.device)
        scale = size_given(out_size)[0] / frames.shape[-2]
        self.pipeline.longest_tile = None if self.tile is None else round(self.tile / scale)
        made, self._before = self.pipeline.next_clip(
            given,
            instants,
            out_size,
            self._before,
            output_type=given.dtype,
            on_stage=on_stage,
            on_progress=self.on_progress,
        )
        return made.cpu()


def choose_device(device: str) -> torch.device:
    """The torch device for "auto", "cpu", "cuda", "cuda:1", "mps".

    Raises:
        ValueError: It is not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device `{device}` is not available on this machine") from error
    return chosen


def choose_precision(precision: str, device: torch.device) -> torch.dtype:
    """The type convolutions run in for "auto", "fp32", "bf16", "fp16": what the device is fast at.

    Raises:
        ValueError: It is not one of these.
    """
    if precision == "auto":
        if device.type == "cuda":
            with torch.cuda.device(device):  # older cards emulate it, slower than they do float32
                fast = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            fast = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
        return torch.bfloat16 if fast else torch.float32
    if precision not in PRECISIONS:
        raise ValueError(f"precision `{precision}` is not one of auto, {', '.join(PRECISIONS)}")
    return PRECISIONS[precision]


def load_model(
    name: str,
    *,
    device: str = "auto",
    precision: str = "auto",
    sampling: Sampling | None = None,
    decoder: str = "full",
) -> UpscaleModel:
    """Load a model by its name, or a pipeline folder by its path.

    Args:
        name: One in `EMBEDDED`, one in `STAR_MODELS` that was downloaded, or a folder.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        precision: "auto", "fp32", "bf16" or "fp16".
        sampling: For a model that samples; None is as published.
        decoder: "full", or "tiny" for a model of Wan's size: the small decoder that was downloaded.

    Raises:
        ValueError: No such model, device or precision, its files do not fit together, or it cannot be told how to
            sample or how to decode.
        FileNotFoundError: Its files are missing.
    """
    from diffst.wan.convert import tiny_decoder_from
    from diffst.wan.upscaler import NO_WEIGHTS, WanUpscaler

    if decoder not in DECODERS:
        raise ValueError(f"decoder `{decoder}` is not one of {', '.join(DECODERS)}")
    if star_pipeline(name) is not None:
        check_decoder(decoder)
        return load_any_star(name, device=device, precision=precision, sampling=sampling)
    if sampling is not None:
        raise ValueError(f"`{name}` takes one step and draws no noise, so there is nothing to tell")
    chosen = choose_device(device)
    kind = choose_precision(precision, chosen)
    folder = EMBEDDED.get(name, Path(name))
    if name == WAN_MODEL and not folder.is_dir():
        raise ValueError(NO_WEIGHTS)
    if name not in EMBEDDED and not folder.is_dir():
        raise ValueError(
            f"there is no model `{name}`: it is neither built in (`{'`, `'.join(EMBEDDED)}`), "
            f"nor one to be pulled (`{'`, `'.join(STAR_MODELS)}`), nor a folder"
        )
    pipeline = load_pipeline(folder, dtype=kind)
    if isinstance(pipeline, DiffSTWanPipeline):
        if decoder == "tiny":
            file = model_folder(TINY_DECODER) / TINY_DECODER_FILE
            pipeline.codec.take_tiny_decoder(tiny_decoder_from(file, dtype=kind))
        return WanUpscaler(name, pipeline, chosen)
    check_decoder(decoder)
    return DiffSTUpscaler(name, pipeline, chosen, kind)


def check_decoder(decoder: str) -> None:
    """Raise ValueError for any decoder but the one that a model of another size than Wan's has."""
    if decoder != "full":
        raise ValueError(f"it has one decoder, and `{decoder}` is for models of Wan's size")


def list_models() -> list[ModelCard]:
    """The models this version knows, built in first."""
    return [embedded_card(name) for name in EMBEDDED]


def embedded_card(name: str) -> ModelCard:
    """What is said of a model in the package."""
    folder = EMBEDDED[name]
    installed = (folder / INDEX_FILE).is_file()
    return ModelCard(
        name=name,
        description=DESCRIPTIONS[name],
        licence="Apache-2.0",
        installed=installed,
        path=folder,
        size_bytes=sum(path.stat().st_size for path in model_files(folder)),
        num_parameters=num_parameters(folder),
        sha256=weights_hash(folder) if installed else "",
    )
