"""What makes a pipeline of Wan's size faster without changing what it gives, beyond rounding.

Each lever can be pulled alone, so that each can be measured; a pipeline without any runs diffusers'
own modules, which are the reference.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from diffst.wan.codec import WanCodec
from diffst.wan.fast_vae import drop_copies, fuse_norms, lay_out_channels_last, use_phases
from diffst.wan.fold import fold_timestep
from diffst.wan.pipeline import DiffSTWanPipeline

NOT_FOR_ALL = ("cudnn_attention", "fused_projections", "compiled")
CUDNN_ATTENTION = "_native_cudnn"  # as diffusers calls it


@dataclass(frozen=True, kw_only=True)
class Levers:
    """Which levers to pull."""

    fused_norms: bool = False
    """VAE: norm and activation in four passes over memory instead of eight, none of them in float32."""
    no_copies: bool = False
    """VAE: borders by the convolution itself, one copy for the causal cache instead of three."""
    phase_convolutions: bool = False
    """VAE and tiny decoder: doubling and convolution in one, 4 / 9 of its work."""
    channels_last: bool = False
    """VAE and tiny decoder: weights and activations in the layout that tensor cores read."""
    folded_timestep: bool = False
    """Transformer: the one timestep in the weights."""
    cudnn_attention: bool = False
    """Transformer: attention by cuDNN's kernel instead of the one torch picks; GPUs of NVIDIA only."""
    fused_projections: bool = False
    """Transformer: query, key and value in one product; keeps the separate weights too, 0.7 GB more in bfloat16."""
    compiled: bool = False
    """VAE and transformer blocks through `torch.compile`, which takes minutes at first use."""

    @classmethod
    def exact(cls) -> Levers:
        """All that run anywhere and cost neither memory, as fused projections do, nor minutes, as compilation does."""
        return cls(**{name: name not in NOT_FOR_ALL for name in cls.names()})

    @classmethod
    def names(cls) -> list[str]:
        """Of all levers there are."""
        return [field.name for field in fields(cls)]

    @classmethod
    def parse(cls, text: str) -> Levers:
        """Those of "stock" (none), or of names with commas between them, of which "exact" stands for all it pulls.

        Raises:
            ValueError: A name is unknown.
        """
        if text == "stock":
            return cls()
        exact = ",".join(cls.exact().pulled)
        chosen = text.replace("exact", exact).split(",")
        unknown = [name for name in chosen if name not in cls.names()]
        if unknown:
            raise ValueError(
                f"there is no lever `{unknown[0]}`; there are {', '.join(cls.names())}, `stock` and `exact`"
            )
        return cls(**dict.fromkeys(chosen, True))

    @property
    def pulled(self) -> list[str]:
        """Names of the chosen ones."""
        return [name for name in self.names() if getattr(self, name)]


def pull(pipeline: DiffSTWanPipeline, levers: Levers) -> None:
    """Change a pipeline in place, once; it is not saved afterwards.

    Raises:
        ValueError: The timestep was folded before.
    """
    vae, transformer = pipeline.codec.vae, pipeline.transformer
    if levers.fused_norms:
        fuse_norms(vae)
    if levers.no_copies:
        drop_copies(vae)
    if levers.phase_convolutions:
        use_phases(pipeline.codec)
    if levers.channels_last:
        lay_out_channels_last(pipeline.codec)
    if levers.folded_timestep:
        fold_timestep(transformer, pipeline.config.timestep)
    if levers.cudnn_attention:
        transformer.set_attention_backend(CUDNN_ATTENTION)
    if levers.fused_projections:
        transformer.fuse_qkv_projections()
    if levers.compiled:
        compile_parts(pipeline)


def pull_again(codec: WanCodec, levers: Levers) -> None:
    """Pull, on a tiny decoder that was taken after `pull`, the levers that it has."""
    if levers.phase_convolutions:
        use_phases(codec)
    if levers.channels_last:
        lay_out_channels_last(codec)
    if levers.compiled and codec.tiny_decoder is not None:
        codec.tiny_decoder.compile()


def compile_parts(pipeline: DiffSTWanPipeline, backend: str = "inductor") -> None:
    """Compile encoder, decoder and the blocks of the transformer in place, on their first call.

    The VAE's halves are compiled as called, a few latents at a time: three variants (the first latent, the second, all
    later ones) and then no more, whatever the video's length. Blocks are compiled once for all sizes.
    """
    pipeline.codec.vae.encoder.compile(backend=backend)
    (pipeline.codec.tiny_decoder or pipeline.codec.vae.decoder).compile(backend=backend)
    pipeline.transformer.compile_repeated_blocks(dynamic=True, backend=backend)
