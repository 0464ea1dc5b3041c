"""Where the curves and samples of a run go besides its own log: TensorBoard or Weights & Biases, through accelerate."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor

from diffst.wan.training.config import WanTrainConfig
from diffst.wan.training.validation import Validation

PROJECT = "diffst"
INSTALL = {"tensorboard": "pip install 'diffst[train]'", "wandb": "pip install wandb"}
SAMPLE_FRAMES_PER_SECOND = 8  # slow enough to see single frames


def check_trackers(names: tuple[str, ...]) -> None:
    """Raise ValueError, which says what to do, where a tracker's package is not installed."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise ValueError(
                f"`log_with` names {name}, which is not installed; run `{INSTALL[name]}`"
            )


def start_trackers(accelerator: Accelerator, config: WanTrainConfig, step: int) -> None:
    """Open them; what a stopped run wrote after the step it is gone on from is taken back."""
    values = {
        name: value
        if isinstance(value, (bool, int, float, str))
        else json.dumps(value, default=str)
        for name, value in asdict(config).items()
    }
    options: dict[str, dict[str, Any]] = {
        "wandb": {"dir": str(config.out), "name": config.out.name}
    }
    if step:
        options["tensorboard"] = {"purge_step": step}
    accelerator.init_trackers(PROJECT, config=values, init_kwargs=options)


def log_sample(accelerator: Accelerator, folder: Path, shown: Validation, step: int) -> Path:
    """Write a window as an animated picture, enlarged, made and true side by side, and show it in the trackers."""
    frames = torch.cat([shown.enlarged, shown.made, shown.true], dim=-1)
    path = folder / f"step-{step}.gif"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_gif(frames, path)
    for tracker in accelerator.trackers:
        if tracker.name == "tensorboard":
            tracker.writer._get_file_writer().add_summary(gif_summary(path, frames), step)
        elif tracker.name == "wandb":
            import wandb

            tracker.log({"sample": wandb.Video(str(path), format="gif")}, step=step)
    return path


def write_gif(frames: Tensor, path: Path) -> None:
    """Frames (T, 3, H, W) uint8 as an animation without end."""
    pictures = [Image.fromarray(np.ascontiguousarray(f.permute(1, 2, 0).numpy())) for f in frames]
    first, *others = pictures
    duration = 1000 // SAMPLE_FRAMES_PER_SECOND  # ms
    first.save(path, save_all=True, append_images=others, duration=duration, loop=0)


def gif_summary(path: Path, frames: Tensor) -> Any:
    """What TensorBoard shows an animation from; its own way there needs an old moviepy."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    height, width = frames.shape[-2:]
    picture = Summary.Image(
        height=height, width=width, colorspace=3, encoded_image_string=path.read_bytes()
    )
    return Summary(value=[Summary.Value(tag="sample", image=picture)])
