"""DiffSTWanPipeline: DiffST with a video VAE, whose latents hold several frames each."""

from __future__ import annotations

import itertools
import os
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch import Tensor, nn

from diffst.attempts import Attempt, plainly
from diffst.cfca import CFCA, Instants
from diffst.given import check_output_type, frames_given, instants_asked, size_given
from diffst.pipeline import DiffSTPipeline, OnProgress, OnStage, unwatched
from diffst.pixels import in_range
from diffst.transformer import one_step
from diffst.vrg import VideoGuidance
from diffst.wan.codec import WanCodec
from diffst.wan.cuts import Cuts
from diffst.wan.encoded_guidance import EncodedGuidance, join
from diffst.wan.shot import Shot
from diffst.wan.stream import ShotStream, Stage
from diffst.wan.windows import OVERLAP_LATENTS, Windows


class DiffSTWanPipeline(DiffSTPipeline):
    """Space-time super-resolution in one diffusion step, with the Wan VAE and the Wan transformer.

    Args:
        cfca: Makes the frame of each instant from several keyframes.
        vrg: Video-level guidance in place of the text; None runs the transformer without it.
        transformer: Wan transformer, any size, text-to-video kind.
        codec: The Wan VAE.
        video_encoder: What an `EncodedGuidance` looks through, frozen; None for guidance with an encoder of its own.
        timestep: The one timestep, in 0..1000.
        sigma: Length of the one step.
        window_latents: Latents in time that see each other in the transformer, unless `cuts` says otherwise.
        trained: Whether DiffST was trained with these weights. Wan's own do not upscale.

    Raises:
        ValueError: The transformer is of the image-to-video kind, whose processor takes the last 512 guidance rows for
            text; it does not fit the codec; guidance and video encoder do not fit each other; or a constant is out of
            range, or no number.
    """

    _optional_components = ["vrg", "video_encoder"]  # noqa: RUF012  (diffusers reads it from the class)
    model_cpu_offload_seq = "cfca->video_encoder->vrg->transformer->codec"

    def __init__(
        self,
        cfca: CFCA,
        vrg: VideoGuidance | EncodedGuidance | None,
        transformer: WanTransformer3DModel,
        codec: WanCodec,
        video_encoder: nn.Module | None,
        timestep: float = 399.0,
        sigma: float = 0.399,
        window_latents: int = 9,
        trained: bool = False,
    ) -> None:
        super().__init__(cfca, vrg, transformer, codec, timestep, sigma, window_latents)
        self.register_modules(video_encoder=video_encoder)
        self.register_to_config(trained=trained)
        join(vrg, video_encoder)
        given = transformer.config
        if given.image_dim is not None or given.added_kv_proj_dim is not None:
            raise ValueError(
                "an image-to-video transformer does not take guidance in place of text"
            )
        if given.in_channels != codec.config.z_dim or given.out_channels != codec.config.z_dim:
            raise ValueError(
                f"a transformer of {given.in_channels} channels does not fit latents of {codec.config.z_dim}"
            )
        self.cuts = Cuts(
            windows=Windows(
                latents=window_latents, overlap_latents=min(OVERLAP_LATENTS, window_latents - 1)
            )
        )

    def register_modules(self, **modules: Any) -> None:
        """Note down each component's class for the folder.

        diffusers takes any module in a folder `wan` for its own pipeline of that name, and could then not load it.
        """
        super().register_modules(**modules)
        kinds = {name: type(module) for name, module in modules.items()}
        own = {name: kind for name, kind in kinds.items() if kind.__module__.startswith("diffst.")}
        self.register_to_config(
            **{name: (kind.__module__, kind.__name__) for name, kind in own.items()}
        )

    def next_clip(self, *_: object, **__: object) -> Any:
        """Not of this size: what neighbouring clips share is kept within a `shot`.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError("a pipeline of Wan's size goes on within a `shot`")

    @torch.no_grad()
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
        """Make the frames of the asked instants at the asked size; see `DiffSTPipeline`.

        Raises:
            TypeError: The frames are no tensor.
            ValueError: As there; or instants are not in order of time, which one window of the transformer sees.
        """
        frames = frames_given(frames)
        check_output_type(output_type)
        instants, size = instants_asked(instants, len(frames)), size_given(size)
        made = torch.empty(len(instants), 3, *size, dtype=output_type, device=frames.device)
        start, shot = 0, self.shot(size, on_stage, on_progress)
        for pictures in itertools.chain(shot.feed(frames, instants), shot.finish()):
            made[start : start + len(pictures)] = in_range(pictures, output_type)
            start += len(pictures)
        return made

    def shot(
        self,
        size: tuple[int, int],
        on_stage: OnStage | None = None,
        on_progress: OnProgress = unwatched,
        attempt: Attempt = plainly,
    ) -> Shot:
        """One shot of pictures of a size, to be handed over clip by clip; see `Shot`."""
        return Shot(self, size, on_stage, on_progress, attempt)

    def stream(
        self,
        size: tuple[int, int],
        guidance: Tensor,
        stage: Stage,
        kept: torch.dtype = torch.float32,
        on_progress: OnProgress = unwatched,
        attempt: Attempt = plainly,
    ) -> ShotStream:
        """A stream for the frames of one shot that are there at low resolution.

        Args:
            size: Output height and width.
            guidance: Of the shot.
            stage: Clock of the named stages.
            kept: What finished pictures are kept in where tiles are made before the first is given out.
            on_progress: Told how far it is there.
            attempt: Each part of the work is one.
        """
        check_precision(self.transformer)

        def step(latents: Tensor) -> Tensor:
            return self.window(latents, guidance)

        return ShotStream(
            self.codec,
            step,
            lambda: self.cuts,
            size,
            stage=stage,
            kept=kept,
            on_progress=on_progress,
            attempt=attempt,
        )

    def window(self, latents: Tensor, guidance: Tensor) -> Tensor:
        """The one step on latents that all see each other, (T, C, h, w)."""
        return one_step(
            self.transformer,
            latents,
            guidance,
            timestep=self.config.timestep,
            sigma=self.config.sigma,
            window_latents=len(latents),
        )

    def save_pretrained(self, save_directory: str | os.PathLike[str], **options: Any) -> None:
        """Write the pipeline folder; fused projections are saved as the separate ones they stand for.

        Raises:
            ValueError: A component has keys that its configuration does not have, as after a change for speed: the
                folder would not load.
        """
        fused = any(
            getattr(part, "fused_projections", False) for part in self.transformer.modules()
        )
        if fused:
            self.transformer.unfuse_qkv_projections()
        try:
            for name in ("transformer", "codec"):
                check_keys(name, getattr(self, name))
            super().save_pretrained(save_directory, **options)
        finally:
            if fused:
                self.transformer.fuse_qkv_projections()


def check_keys(name: str, component: Any) -> None:
    """Raise ValueError unless a component's weights have exactly the keys and shapes of its configuration."""
    with init_empty_weights(include_buffers=False):
        plain = type(component).from_config(component.config)
    wanted = {key: value.shape for key, value in plain.state_dict().items()}
    if {key: value.shape for key, value in component.state_dict().items()} != wanted:
        raise ValueError(f"the {name} was changed for speed and cannot be saved; save it before")


def check_precision(transformer: Any) -> None:
    """Raise ValueError where a plain `.to(bfloat16)` also shortened what Wan keeps in float32.

    diffusers keeps them when it loads with `dtype=`, but not on `.to()`.
    """
    if not hasattr(transformer, "scale_shift_table"):
        return  # folded into the weights
    kept = transformer.scale_shift_table.dtype
    if kept != torch.float32 and kept != torch.float64:
        raise ValueError(
            f"the transformer's modulation is {kept}, which loses what it was trained with: "
            "load with `dtype=`, or use `diffst.wan.build.cast_transformer`"
        )
