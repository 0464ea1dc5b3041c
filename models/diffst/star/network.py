"""STAR's network: a video UNet, steered by a copy of its encoder that also sees the low-resolution clip.

Source: the I2VGen-XL-based STAR (arXiv 2501.02976); its published weights fit key by key.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange
from torch import Tensor, is_grad_enabled, nn

from diffst.star.blocks import (
    Downsample,
    Recomputed,
    ResBlock,
    SpatialTransformer,
    TemporalTransformer,
    Upsample,
)

TIME_PERIOD = 10000.0  # of the slowest wave of the timestep's embedding


@dataclass(frozen=True, kw_only=True)
class NetworkShape:
    """The widths that fix every shape of the network."""

    latent_channels: int
    channels: int
    """Of the first level; all widths are multiples of it."""
    multiples: tuple[int, ...]
    """Of `channels`, level by level; each level has half the side lengths of the one before."""
    context_dim: int
    """Width of the text states."""
    head_dim: int
    """Width of one attention head."""
    first_heads: int
    """Heads of the first temporal transformer, whose width need not be its input's."""
    blocks_per_level: int
    groups: int
    """Of every group norm."""

    @property
    def embedding_dim(self) -> int:
        """Width of the timestep's embedding."""
        return 4 * self.channels

    def block(self, in_channels: int, out_channels: int, *, attends: bool) -> list[nn.Module]:
        """A residual block, and where `attends` a transformer in space and one in time."""
        made: list[nn.Module] = [
            ResBlock(in_channels, out_channels, self.embedding_dim, self.groups)
        ]
        if attends:
            made += self.transformers(out_channels)
        return made

    def transformers(self, channels: int) -> list[nn.Module]:
        """One in space, one in time."""
        return [
            SpatialTransformer(channels, self.head_dim, self.context_dim, self.groups),
            TemporalTransformer(channels, channels, self.head_dim, self.groups),
        ]

    def encoder_blocks(self) -> tuple[nn.ModuleList, list[int]]:
        """The encoder, and the channels that each of its blocks gives."""
        first = TemporalTransformer(
            self.channels, self.first_heads * self.head_dim, self.head_dim, self.groups
        )
        blocks: list[nn.Module] = [
            nn.ModuleList([nn.Conv2d(self.latent_channels, self.channels, 3, padding=1), first])
        ]
        widths = [self.channels]
        last = len(self.multiples) - 1
        for level, multiple in enumerate(self.multiples):
            for _ in range(self.blocks_per_level):
                made = self.block(widths[-1], multiple * self.channels, attends=level < last)
                blocks.append(nn.ModuleList(made))
                widths.append(multiple * self.channels)
            if level < last:
                blocks.append(Downsample(widths[-1]))
                widths.append(widths[-1])
        return nn.ModuleList(blocks), widths

    def middle_block(self) -> nn.ModuleList:
        """Between encoder and decoder."""
        channels = self.multiples[-1] * self.channels
        block = self.block(channels, channels, attends=True)
        return nn.ModuleList(
            [*block, ResBlock(channels, channels, self.embedding_dim, self.groups)]
        )

    def decoder_blocks(self, skips: list[int]) -> nn.ModuleList:
        """The decoder; each block takes the encoder's last output not yet taken beside its input."""
        waiting = list(skips)
        channels = waiting[-1]
        blocks: list[nn.Module] = []
        for level, multiple in reversed(list(enumerate(self.multiples))):
            attends = level < len(self.multiples) - 1
            for number in range(self.blocks_per_level + 1):
                width = multiple * self.channels
                made = self.block(channels + waiting.pop(), width, attends=attends)
                if level > 0 and number == self.blocks_per_level:
                    made.append(Upsample(width))
                blocks.append(nn.ModuleList(made))
                channels = width
        return nn.ModuleList(blocks)

    def time_embedding(self) -> nn.Sequential:
        """What turns a timestep's waves into its embedding."""
        dim = self.embedding_dim
        return nn.Sequential(nn.Linear(self.channels, dim), nn.SiLU(), nn.Linear(dim, dim))


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What every block is told, once a frame."""

    embedding: Tensor
    """(B * F, embedding_dim), of the timestep."""
    text: Tensor
    """(B * F, L, context_dim)."""
    num_frames: int
    """F."""


def run_layers(layers: Iterable[nn.Module], images: Tensor, conditions: Conditions) -> Tensor:
    """Images through layers in a row, each told what its kind wants to know; (B * F, C, h, w)."""
    for layer in layers:
        told: tuple[Tensor | int, ...] = ()
        if isinstance(layer, ResBlock):
            told = (conditions.embedding, conditions.num_frames)
        elif isinstance(layer, SpatialTransformer):
            told = (conditions.text,)
        elif isinstance(layer, TemporalTransformer):
            told = (conditions.num_frames,)
        if isinstance(layer, Recomputed) and layer.gradient_checkpointing and is_grad_enabled():
            images = layer._gradient_checkpointing_func(layer, images, *told)
        else:
            images = layer(images, *told)
    return images


def layers_of(block: nn.Module) -> Iterable[nn.Module]:
    """A block's layers; a lone one is its own."""
    return block if isinstance(block, nn.ModuleList) else (block,)


def time_waves(timesteps: Tensor, channels: int) -> Tensor:
    """(B,) timesteps as (B, channels) float32: cosines, then sines, of falling frequency."""
    half = channels // 2
    rates = torch.arange(half, dtype=torch.float32, device=timesteps.device) / half
    angles = timesteps[:, None].float() * torch.exp(-math.log(TIME_PERIOD) * rates)
    return torch.cat((angles.cos(), angles.sin()), dim=-1)


def conditions_of(
    embed: nn.Sequential, shape: NetworkShape, timesteps: Tensor, text: Tensor, num_frames: int
) -> Conditions:
    """A network's own view of the timestep, and the text, repeated for every frame."""
    embedding = embed(time_waves(timesteps, shape.channels).to(text.dtype))
    return Conditions(
        embedding=embedding.repeat_interleave(num_frames, dim=0),
        text=text.repeat_interleave(num_frames, dim=0),
        num_frames=num_frames,
    )


class VideoControlNet(nn.Module):
    """A second encoder, that sees the low-resolution latent too and says what to add to the first's outputs."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.shape = shape
        self.time_embed = shape.time_embedding()
        self.input_hint_block = nn.Conv2d(shape.latent_channels, shape.channels, 3, padding=1)
        self.input_blocks, widths = shape.encoder_blocks()
        self.zero_convs = nn.ModuleList(
            nn.ModuleList([nn.Conv2d(width, width, 1)]) for width in widths
        )
        self.middle_block = shape.middle_block()
        self.middle_block_out = nn.ModuleList([nn.Conv2d(widths[-1], widths[-1], 1)])

    def forward(
        self, images: Tensor, hint: Tensor, timesteps: Tensor, text: Tensor, num_frames: int
    ) -> list[Tensor]:
        """What to add to each output of the encoder, and last to the middle's.

        Args:
            images: (B * F, C, h, w), the noisy latent.
            hint: The same shape, the low-resolution latent.
            timesteps: (B,).
            text: (B, L, context_dim).
            num_frames: F.
        """
        conditions = conditions_of(self.time_embed, self.shape, timesteps, text, num_frames)
        # 1. The hint joins after the first convolution, before anything sees time.
        first, temporal = layers_of(self.input_blocks[0])
        hidden = run_layers((temporal,), first(images) + self.input_hint_block(hint), conditions)
        controls = [run_layers(layers_of(self.zero_convs[0]), hidden, conditions)]
        # 2. The rest of the encoder.
        for block, zero_conv in zip(self.input_blocks[1:], self.zero_convs[1:], strict=True):
            hidden = run_layers(layers_of(block), hidden, conditions)
            controls.append(run_layers(layers_of(zero_conv), hidden, conditions))
        # 3. The middle.
        hidden = run_layers(self.middle_block, hidden, conditions)
        return [*controls, run_layers(self.middle_block_out, hidden, conditions)]


class StarUNet(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Predicts the velocity of a noisy latent clip from it, the low-resolution latent and a text.

    The defaults are the published network's, with 2,041,121,910 parameters under 2247 keys.

    Args:
        latent_channels: Of the input, the hint and the output.
        channels: Of the first level.
        multiples: Of `channels`, level by level.
        context_dim: Width of the text states.
        head_dim: Width of one attention head.
        first_heads: Heads of the first temporal transformer.
        blocks_per_level: Residual blocks of the encoder on each level; the decoder has one more.
        groups: Of every group norm.
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 4,
        channels: int = 320,
        multiples: tuple[int, ...] = (1, 2, 4, 4),
        context_dim: int = 1024,
        head_dim: int = 64,
        first_heads: int = 8,
        blocks_per_level: int = 2,
        groups: int = 32,
    ) -> None:
        super().__init__()
        self.shape = NetworkShape(
            latent_channels=latent_channels,
            channels=channels,
            multiples=tuple(multiples),
            context_dim=context_dim,
            head_dim=head_dim,
            first_heads=first_heads,
            blocks_per_level=blocks_per_level,
            groups=groups,
        )
        self.time_embed = self.shape.time_embedding()
        self.input_blocks, widths = self.shape.encoder_blocks()
        self.middle_block = self.shape.middle_block()
        self.output_blocks = self.shape.decoder_blocks(widths)
        self.out = nn.Sequential(
            nn.GroupNorm(groups, channels),
            nn.SiLU(),
            nn.Conv2d(channels, latent_channels, 3, padding=1),
        )
        self.VideoControlNet = VideoControlNet(self.shape)

    def forward(self, noisy: Tensor, timesteps: Tensor, text: Tensor, hint: Tensor) -> Tensor:
        """Predict the velocity v = alpha * noise - sigma * x0.

        Args:
            noisy: (B, C, F, h, w); h = 8 k + 2, w a multiple of 8.
            timesteps: (B,), in 0..999.
            text: (B, L, context_dim).
            hint: The shape of `noisy`, the low-resolution latent, clean.

        Returns:
            The shape of `noisy`.

        Raises:
            ValueError: A side does not survive being halved and doubled.
        """
        batch, _, num_frames, height, width = noisy.shape
        check_sides(height, width)
        images = rearrange(noisy, "b c f h w -> (b f) c h w")
        hints = rearrange(hint, "b c f h w -> (b f) c h w")
        conditions = conditions_of(self.time_embed, self.shape, timesteps, text, num_frames)
        # 1. What the control branch adds.
        controls = self.VideoControlNet(images, hints, timesteps, text, num_frames)
        middle_control = controls.pop()
        # 2. Encode; each output waits for the decoder with its control already added.
        waiting = []
        for block in self.input_blocks:
            images = run_layers(layers_of(block), images, conditions)
            waiting.append(images + controls.pop(0))
        # 3. The middle.
        images = run_layers(self.middle_block, images, conditions) + middle_control
        # 4. Decode.
        for block in self.output_blocks:
            images = torch.cat((images, waiting.pop()), dim=1)
            images = run_layers(layers_of(block), images, conditions)
        velocity: Tensor = self.out(images)
        return rearrange(velocity, "(b f) c h w -> b c f h w", b=batch)


def check_sides(height: int, width: int) -> None:
    """Raise ValueError for a latent that the levels do not give back: h = 8 k + 2 and w = 8 k pass."""
    if height % 8 != 2 or width % 8 != 0 or height < 10 or width < 8:
        raise ValueError(
            f"a latent of {width}x{height} does not fit: width a multiple of 8, height 2 more than one"
        )
