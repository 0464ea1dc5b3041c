"""Stand-ins for STAR's parts."""

from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor

from diffst.star.schedule import noise_levels


class BlindToTime(torch.nn.Module):
    """Looks at each place of each frame alone, so that cutting a clip can change nothing."""

    dtype = torch.float32

    def forward(self, noisy: Tensor, timesteps: Tensor, text: Tensor, hint: Tensor) -> Tensor:
        return 0.3 * noisy + 0.2 * hint + timesteps[0] / 1e4 * text.mean()


class Knowing(torch.nn.Module):
    """Says the velocity at which the hint is the clean latent."""

    dtype = torch.float32

    def forward(self, noisy: Tensor, timesteps: Tensor, _text: Tensor, hint: Tensor) -> Tensor:
        sigma = noise_levels()[int(timesteps[0])]
        return ((1 - sigma**2) ** 0.5 * noisy - hint) / sigma


class Averages(torch.nn.Module):
    """A VAE whose latents are the mean colours of 8 x 8 pixels, and an empty channel."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(latent_channels=4, scaling_factor=0.5)
        self.decoder = torch.nn.Module()
        self.decoder.conv_in = torch.nn.Conv2d(1, 1, 1)

    def encode(self, pictures: Tensor) -> SimpleNamespace:
        mean = F.pad(F.avg_pool2d(pictures, 8), (0, 0, 0, 0, 0, 1))
        return SimpleNamespace(latent_dist=SimpleNamespace(mean=mean, std=torch.zeros_like(mean)))

    def decode(self, latents: Tensor, num_frames: int) -> SimpleNamespace:
        assert len(latents) == num_frames
        return SimpleNamespace(sample=F.interpolate(latents[:, :3], scale_factor=8.0))
