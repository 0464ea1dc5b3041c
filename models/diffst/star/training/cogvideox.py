"""The CogVideoX-based STAR in training."""

from __future__ import annotations

from pathlib import Path

import torch
from accelerate import init_empty_weights
from torch import Tensor

from diffst.star.checkpoint import load_cogvideox_pipeline
from diffst.star.cogvideox import StarCogVideoXTransformer
from diffst.star.cogvideox_pipeline import (
    FRAMES_PER_LATENT,
    GROUP_LATENTS,
    StarCogVideoXPipeline,
    enlarge,
    num_latents,
)
from diffst.star.cogvideox_sampler import taught_alphas
from diffst.star.cogvideox_text import prompt_states
from diffst.star.liem import train_liem_only
from diffst.star.training.config import CogVideoXTrainConfig
from diffst.star.training.objective import Question
from diffst.training.lora import ATTENTION, add_lora, merge_lora

# Trained whole beside the updates, as published: the way in, and the way out after the last block.
TRAINED_WHOLE = ("patch_embed.proj", "norm_final", "norm_out", "proj_out")


def train_parts(network: StarCogVideoXTransformer, parts: str, lora_rank: int) -> None:
    """Freeze all that a run does not train.

    Args:
        network: Of any size.
        parts: `lora` for low-rank updates of every attention, local enhancement (LIEM), and `TRAINED_WHOLE`, as
            published: 532,243,624 parameters of the published size at rank 512; `local` for local enhancement alone:
            4,200.
        lora_rank: Of the updates.

    Raises:
        ValueError: peft, which makes the updates, is not installed.
    """
    network.train()
    gates = train_liem_only(network)
    if parts == "lora":
        add_lora(network, lora_rank, ATTENTION)
        for name in TRAINED_WHOLE:
            network.get_submodule(name).requires_grad_(True)
        for weight in gates:
            weight.requires_grad_(True)


def with_updates_merged(
    network: StarCogVideoXTransformer, lora_rank: int
) -> StarCogVideoXTransformer:
    """A copy on the CPU, its low-rank updates put into the weights."""
    with init_empty_weights(include_buffers=False):
        merged: StarCogVideoXTransformer = StarCogVideoXTransformer.from_config(network.config)
        add_lora(merged, lora_rank, ATTENTION)
    weights = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
    merged.load_state_dict(weights, strict=True, assign=True)
    merge_lora(merged)
    return merged


class CogVideoXLearner:
    """See `Learner`."""

    def __init__(self, config: CogVideoXTrainConfig, device: torch.device) -> None:
        """Load what `start_from` holds.

        Raises:
            FileNotFoundError: It is no pipeline folder.
            ValueError: It holds another model, the prompt cannot be encoded, or peft is missing.
        """
        self.config = config
        self.pipeline: StarCogVideoXPipeline = load_cogvideox_pipeline(config.start_from).to(device)
        self.network, self.vae = self.pipeline.transformer, self.pipeline.vae
        tokens = self.network.config.max_text_seq_length
        states = prompt_states(config.start_from, config.prompt, tokens)
        self.text = (self.network.no_text() if states is None else states).to(device)
        self.alphas = taught_alphas().flip(0).tolist()
        torch.manual_seed(config.seed)  # half of each update is drawn
        train_parts(self.network, config.parts, config.lora_rank)

    def alpha(self, timestep: int) -> float:
        """See `Learner`."""
        return float(self.alphas[timestep])

    def encoded(self, pictures: Tensor) -> Tensor:
        """See `Learner`."""
        height, width = (side // self.pipeline.latent_side for side in pictures.shape[-2:])
        channels = self.vae.config.latent_channels
        with torch.autocast(pictures.device.type, enabled=False):
            noise = torch.randn(1, channels, num_latents(len(pictures)), height, width)
            return self.pipeline.encode(pictures, noise)

    def enlarged(self, pictures: Tensor, size: tuple[int, int]) -> Tensor:
        """See `Learner`."""
        return enlarge(pictures, size)

    def answer(self, question: Question) -> Tensor:
        """See `Learner`."""
        joined = torch.cat((question.noisy, question.hint), dim=1).transpose(1, 2)
        timesteps = torch.tensor([question.timestep], device=joined.device)
        said: Tensor = self.network.velocity(joined, self.text, timesteps).float()
        return said.transpose(1, 2)

    def decoded(self, latents: Tensor) -> tuple[Tensor, slice]:
        """See `Learner`; one group that the VAE decodes at once: the first nine frames, or eight later ones.

        What comes before it is decoded too, without gradients, since the decoder remembers it.
        """
        scaled = latents / self.vae.config.scaling_factor
        stops = range(1 + GROUP_LATENTS, latents.shape[2] + 1, GROUP_LATENTS)
        chosen = stops[int(torch.randint(len(stops), ()))]
        start, memory = 0, None
        for stop in range(stops[0], chosen, GROUP_LATENTS):
            with torch.no_grad():
                _, memory = self.vae.decoder(scaled[:, :, start:stop], conv_cache=memory)
            start = stop
        made, _ = self.vae.decoder(scaled[:, :, start:chosen], conv_cache=memory)
        pictures: Tensor = made[0].transpose(0, 1).float()
        return pictures, slice(num_frames(start), num_frames(chosen))

    def save(self, folder: Path) -> None:
        """See `Learner`."""
        network = self.network
        if self.config.parts == "lora":
            network = with_updates_merged(network, self.config.lora_rank)
        StarCogVideoXPipeline(network, self.vae).save_pretrained(folder)


def num_frames(latents: int) -> int:
    """Frames that the first so many latents stand for."""
    return max(1 + FRAMES_PER_LATENT * (latents - 1), 0)
