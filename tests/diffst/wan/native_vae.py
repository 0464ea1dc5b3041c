"""Wan's VAE written out on its native weights, a whole video at once and without caches, as an oracle."""

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = dict[str, Tensor]


def causal(weights: Weights, name: str, x: Tensor) -> Tensor:
    """Convolution over (C, T, H, W) that sees the frames before; before the first there are zeros."""
    weight = weights[f"{name}.weight"]
    before, around = weight.shape[2] - 1, weight.shape[3] // 2
    padded = F.pad(x, (around, around, around, around, before, 0))
    return F.conv3d(padded[None], weight, weights[f"{name}.bias"])[0]


def each_frame(weights: Weights, name: str, x: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
    """Convolution of every frame of (C, T, H, W) alone."""
    given = x.transpose(0, 1)
    made = F.conv2d(given, weights[f"{name}.weight"], weights[f"{name}.bias"], stride, padding)
    return made.transpose(0, 1)


def norm(weights: Weights, name: str, x: Tensor) -> Tensor:
    rms = x.square().mean(0, keepdim=True).sqrt()
    return x / rms * weights[f"{name}.gamma"].reshape(-1, 1, 1, 1)


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def residual(weights: Weights, name: str, x: Tensor) -> Tensor:
    inner = causal(weights, f"{name}.residual.2", silu(norm(weights, f"{name}.residual.0", x)))
    inner = causal(weights, f"{name}.residual.6", silu(norm(weights, f"{name}.residual.3", inner)))
    if f"{name}.shortcut.weight" in weights:
        x = causal(weights, f"{name}.shortcut", x)
    return inner + x


def attention(weights: Weights, name: str, x: Tensor) -> Tensor:
    """One head over each frame."""
    query, key, value = (
        part.flatten(2).permute(1, 2, 0)
        for part in each_frame(weights, f"{name}.to_qkv", norm(weights, f"{name}.norm", x)).chunk(3)
    )
    shares = (query @ key.transpose(1, 2) / query.shape[2] ** 0.5).softmax(-1)
    seen = (shares @ value).permute(2, 0, 1).reshape(x.shape)
    return x + each_frame(weights, f"{name}.proj", seen)


def middle(weights: Weights, name: str, x: Tensor) -> Tensor:
    x = residual(weights, f"{name}.0", x)
    return residual(weights, f"{name}.2", attention(weights, f"{name}.1", x))


def halve(weights: Weights, name: str, x: Tensor) -> Tensor:
    """Half the sides; where it halves time too, the first frame stays and each two that follow become one."""
    x = each_frame(weights, f"{name}.resample.1", F.pad(x, (0, 1, 0, 1)), stride=2)
    if f"{name}.time_conv.weight" not in weights:
        return x
    weight, bias = weights[f"{name}.time_conv.weight"], weights[f"{name}.time_conv.bias"]
    return torch.cat((x[:, :1], F.conv3d(x[None], weight, bias, stride=(2, 1, 1))[0]), dim=1)


def double(weights: Weights, name: str, x: Tensor) -> Tensor:
    """Twice the sides; where it doubles time too, the first frame stays one, and no other looks back on it."""
    if f"{name}.time_conv.weight" in weights:
        pairs = causal_in_time(weights, f"{name}.time_conv", x[:, 1:])
        frames = torch.stack(pairs.chunk(2), dim=2).flatten(1, 2)
        x = torch.cat((x[:, :1], frames), dim=1)
    x = x.repeat_interleave(2, -1).repeat_interleave(2, -2)
    return each_frame(weights, f"{name}.resample.1", x, padding=1)


def causal_in_time(weights: Weights, name: str, x: Tensor) -> Tensor:
    padded = F.pad(x, (0, 0, 0, 0, 2, 0))
    return F.conv3d(padded[None], weights[f"{name}.weight"], weights[f"{name}.bias"])[0]


def levels(weights: Weights, name: str) -> list[str]:
    """Names of the blocks of a half, in order."""
    found = {int(key.split(".")[2]) for key in weights if key.startswith(f"{name}.")}
    return [f"{name}.{number}" for number in sorted(found)]


def native_latents(weights: Weights, video: Tensor) -> Tensor:
    """The posterior's mode, (C, T', h, w), of a video (3, 4 k + 1, H, W) in [-1, 1]."""
    x = causal(weights, "encoder.conv1", video)
    for name in levels(weights, "encoder.downsamples"):
        x = (halve if f"{name}.resample.1.weight" in weights else residual)(weights, name, x)
    x = middle(weights, "encoder.middle", x)
    x = causal(weights, "encoder.head.2", silu(norm(weights, "encoder.head.0", x)))
    return causal(weights, "conv1", x).chunk(2)[0]


def native_frames(weights: Weights, latents: Tensor) -> Tensor:
    """The video (3, 4 T - 3, 8 h, 8 w), not clamped, of latents (C, T, h, w), not normalised."""
    x = causal(weights, "decoder.conv1", causal(weights, "conv2", latents))
    x = middle(weights, "decoder.middle", x)
    for name in levels(weights, "decoder.upsamples"):
        x = (double if f"{name}.resample.1.weight" in weights else residual)(weights, name, x)
    return causal(weights, "decoder.head.2", silu(norm(weights, "decoder.head.0", x)))
