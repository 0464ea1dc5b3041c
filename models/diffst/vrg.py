"""Video representation guidance: a few tokens that say what kind of video this is, read by every
transformer block.

Known from DiffST (arXiv 2605.13182): video-level features of the low-resolution clip guide every
DiT block. Ours to decide: the encoder. Nano's own looks at the pixels at full low resolution, where
noise, blocks and blur show, and at what changes between neighbouring frames, then pools over the
whole clip.
"""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange
from torch import Tensor, nn

from diffst.layers import zeroed
from diffst.pixels import as_float

STRIDE = 16  # low-resolution pixels along each side of one thing the encoder sees
STRIP_PIXELS = 8 * 640 * 480  # low-resolution pixels looked at together, of all chosen frames


class Guidance(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """What every kind of guidance shares: a resampler with learned queries, from what an encoder sees to tokens.

    Fresh weights give zero tokens, which is the null path: the transformer as it is without guidance.
    """

    def add_resampler(self, channels: int, num_tokens: int, token_dim: int) -> None:
        """Make the resampler's parts, for things seen of `channels` numbers each."""
        self.norm = nn.LayerNorm(channels)
        self.queries = nn.Parameter(torch.randn(num_tokens, channels) * 0.5)
        self.attention = nn.MultiheadAttention(channels, num_heads=4, batch_first=True)
        self.out_norm = nn.LayerNorm(channels)
        self.out = zeroed(nn.Linear(channels, token_dim))

    def resample(self, seen: Tensor) -> Tensor:
        """(N, any number, channels), of the type of the weights -> (N, num_tokens, token_dim) float32."""
        queries = self.queries.expand(len(seen), -1, -1)
        normed = self.norm(seen)
        pooled, _ = self.attention(queries, normed, normed, need_weights=False)
        guidance: Tensor = self.out(self.out_norm(pooled + queries))
        return guidance.float()


class VideoGuidance(Guidance):
    """A light space-time encoder, and the resampler.

    Args:
        num_tokens: Tokens that come out, whatever the clip's length and size.
        token_dim: Width of a token; the transformer's `text_dim`.
        channels: Width of the encoder.
        max_frames: Frames looked at, spread evenly over the clip.
    """

    @register_to_config
    def __init__(
        self,
        num_tokens: int = 8,
        token_dim: int = 64,
        channels: int = 32,
        max_frames: int = 8,  # noqa: ARG002  (read from the saved config)
    ) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(6, channels, 4, stride=4),
            nn.LeakyReLU(0.1),
            nn.Conv2d(channels, channels, 3, stride=2, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(channels, channels, 3, stride=2, padding=1),
        )
        self.add_resampler(channels, num_tokens, token_dim)

    def forward(self, clips: Tensor) -> Tensor:
        """Tokens of each clip.

        Args:
            clips: (N, T, 3, H, W) float in [0, 1], uint8 or uint16, low-resolution keyframes.

        Returns:
            (N, num_tokens, token_dim) float32.
        """
        chosen = spread(clips.shape[1], self.config.max_frames)
        width = clips.shape[-1]
        rows = max(1, STRIP_PIXELS // (len(chosen) * width * STRIDE)) * STRIDE
        # In strips, so that memory does not grow with the picture.
        strips = [
            self.look(clips, chosen, slice(start, start + rows))
            for start in range(0, clips.shape[-2], rows)
        ]
        tokens = rearrange(torch.cat(strips, dim=2), "(n t) c h w -> n (t h w) c", n=len(clips))
        return self.resample(tokens)

    def look(self, clips: Tensor, chosen: list[int], rows: slice) -> Tensor:
        """What the encoder sees in some rows of the chosen frames, (N * chosen, C, rows / 16, W / 16), rounded up."""
        above = min(rows.start, STRIDE)  # its convolutions look that far up, and not down
        # Floats before anything is picked out: not every device can do that with uint16.
        seen = as_float(clips[..., rows.start - above : rows.stop, :])
        last = clips.shape[1] - 1
        still = seen[:, chosen]
        # Change in either direction, so that a clip played backwards is the same kind of video.
        before = (seen[:, [max(k - 1, 0) for k in chosen]] - still).abs()
        after = (seen[:, [min(k + 1, last) for k in chosen]] - still).abs()
        pair = torch.cat((still - 0.5, before + after), dim=2)
        height, width = pair.shape[-2:]
        pair = nn.functional.pad(
            pair.flatten(0, 1), (0, -width % 4, 0, -height % 4), mode="replicate"
        )
        encoded: Tensor = self.encoder(pair.to(next(self.encoder.parameters()).dtype))
        return encoded[:, :, above // STRIDE :]


def spread(num_frames: int, most: int) -> list[int]:
    """Up to `most` frame indices, evenly over the clip and the same seen from either end."""
    if num_frames <= most:
        return list(range(num_frames))
    half = [round(i * (num_frames - 1) / (most - 1)) for i in range((most + 1) // 2)]
    return sorted(set(half) | {num_frames - 1 - k for k in half})
