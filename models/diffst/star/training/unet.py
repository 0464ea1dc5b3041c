"""The I2VGen-XL-based STAR in training."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from diffst.star.checkpoint import load_star_pipeline
from diffst.star.frames import enlarge
from diffst.star.liem import train_liem_only
from diffst.star.network import StarUNet
from diffst.star.schedule import step_at
from diffst.star.text import prompt_states, save_states
from diffst.star.training.config import UNetTrainConfig
from diffst.star.training.objective import Question
from diffst.star.vae import FACTOR, decode, encode


def train_parts(network: StarUNet, parts: str) -> None:
    """Freeze all that a run does not train; dropout is switched on.

    Args:
        network: Of any size.
        parts: `control` for the control branch and every local enhancement (LIEM), as published: 629,888,050
            parameters of the published size; `local` for local enhancement alone: 2,354.
    """
    network.train()
    train_liem_only(network)
    if parts == "control":
        network.VideoControlNet.requires_grad_(True)


class UNetLearner:
    """See `Learner`."""

    def __init__(self, config: UNetTrainConfig, device: torch.device) -> None:
        """Load what `start_from` holds.

        Raises:
            FileNotFoundError: It is no pipeline folder.
            ValueError: It holds another model, or the prompt cannot be encoded.
        """
        self.config = config
        self.pipeline = load_star_pipeline(config.start_from).to(device)
        self.states = prompt_states(config.start_from, config.prompt)
        self.text = self.states[:1].to(device)
        self.network, self.vae = self.pipeline.unet, self.pipeline.vae
        train_parts(self.network, config.parts)

    def alpha(self, timestep: int) -> float:
        """See `Learner`."""
        return step_at(timestep).alpha

    def encoded(self, pictures: Tensor) -> Tensor:
        """See `Learner`; frame by frame."""
        height, width = (side // FACTOR for side in pictures.shape[-2:])
        latents = []
        with torch.autocast(pictures.device.type, enabled=False):
            for picture in pictures.split(1):
                noise = torch.randn(1, self.vae.config.latent_channels, height, width).to(picture)
                latents.append(encode(self.vae, picture, noise, max(height, width)))
        return torch.stack(latents, dim=2)

    def enlarged(self, pictures: Tensor, size: tuple[int, int]) -> Tensor:
        """See `Learner`; bilinear, where the authors' data were enlarged by bicubic weights."""
        return enlarge(pictures, size)

    def answer(self, question: Question) -> Tensor:
        """See `Learner`."""
        timesteps = torch.tensor([question.timestep], device=self.text.device)
        said: Tensor = self.network(question.noisy, timesteps, self.text, question.hint)
        return said.float()

    def decoded(self, latents: Tensor) -> tuple[Tensor, slice]:
        """See `Learner`; `decoded_frames` together."""
        count = self.config.decoded_frames
        first = int(torch.randint(latents.shape[2] - count + 1, ()))
        seen = slice(first, first + count)
        clean = latents[0, :, seen].transpose(0, 1)
        return decode(self.vae, clean, max(clean.shape[-2:])), seen

    def save(self, folder: Path) -> None:
        """See `Learner`; with the prompt's states, so that no text encoder is needed."""
        self.pipeline.save_pretrained(folder)
        save_states(folder, self.config.prompt, self.states)
