"""What a run at Wan's size starts with: its devices, its pipeline, the networks of its losses."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import (
    DistributedDataParallelKwargs,
    DistributedType,
    InitProcessGroupKwargs,
    ProjectConfiguration,
)

from diffst.checkpoint import load_pipeline
from diffst.training.lora import WAN_BLOCK, add_lora
from diffst.wan.pipeline import DiffSTWanPipeline
from diffst.wan.training.config import WanTrainConfig
from diffst.wan.training.perceptual import NETWORKS, PerceptualLoss, open_perceptual
from diffst.wan.training.sharding import numbers_to_vectors
from diffst.wan.training.stages import STAGES
from diffst.wan.training.tracking import check_trackers

GRADIENT_LIMIT = 0.1  # DOVE's
PATIENCE = timedelta(hours=2)  # of processes that wait while the first one validates and saves


def new_accelerator(config: WanTrainConfig) -> Accelerator:
    """The devices to train on: this process's share of what `accelerate launch` started, or one.

    Raises:
        ValueError: There is no such device, or a tracker is not installed.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ValueError('this machine has no CUDA device that torch can use; see `device = "cpu"`')
    check_trackers(config.log_with)
    accelerator = Accelerator(
        cpu=config.device == "cpu",
        mixed_precision="no",  # `StageModel` itself says what is computed in bfloat16
        log_with=list(config.log_with) or None,
        project_config=ProjectConfiguration(
            project_dir=str(config.out), logging_dir=str(config.out / "tensorboard")
        ),
        kwargs_handlers=[
            InitProcessGroupKwargs(timeout=PATIENCE),
            DistributedDataParallelKwargs(gradient_as_bucket_view=True),  # no second copy of them
        ],
    )
    # Said here, since a launcher's environment would prevail over an argument.
    accelerator.gradient_accumulation_steps = config.gradient_accumulation
    if accelerator.distributed_type == DistributedType.FSDP and not accelerator.is_fsdp2:
        raise ValueError(
            "weights are spread by the second version of FSDP alone; "
            "put `fsdp_version: 2` into accelerate's file, as `examples/train/fsdp.yaml` does"
        )
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        prepare_deepspeed(accelerator.deepspeed_plugin.deepspeed_config, config)
    return accelerator


def prepare_deepspeed(settings: dict[str, Any], config: WanTrainConfig) -> None:
    """Put into DeepSpeed's settings what the run says, in place.

    Raises:
        ValueError: They spread the weights themselves, or shorten those that learn.
    """
    if settings.get("zero_optimization", {}).get("stage") == 3:
        raise ValueError(
            "an average of weights that DeepSpeed spreads cannot be kept; put `zero_stage: 2` into accelerate's file, "
            "or launch with FSDP, as `examples/train/fsdp.yaml` does"
        )
    if any(settings.get(short, {}).get("enabled") is True for short in ("bf16", "fp16")):
        raise ValueError(
            "DeepSpeed would keep the weights that learn in 16 bits, in which their average stands still; "
            "take `bf16` and `fp16` out of its settings: `bfloat16 = true` computes so all the same"
        )
    settings["train_micro_batch_size_per_gpu"] = config.batch_windows
    settings["gradient_accumulation_steps"] = config.gradient_accumulation
    settings["gradient_clipping"] = GRADIENT_LIMIT


def starting_pipeline(config: WanTrainConfig, device: torch.device) -> DiffSTWanPipeline:
    """What `start_from` holds, on the device, with the run's constants; what the stage trains may learn.

    Raises:
        FileNotFoundError: `start_from` is no pipeline folder.
        ValueError: It holds another model than one of Wan's size; or peft, which is asked for, is not installed.
    """
    pipeline = load_pipeline(config.start_from)
    if not isinstance(pipeline, DiffSTWanPipeline):
        raise ValueError(f"`{config.start_from}` holds no pipeline of Wan's size")
    for name in ("timestep", "sigma"):
        if (value := getattr(config, name)) is not None:
            pipeline.register_to_config(**{name: value})
    for part in pipeline.components.values():
        if part is not None:
            part.requires_grad_(False).eval()
    pipeline.to(device)
    for name in STAGES[config.stage].rates:
        part = pipeline.components[name]
        if part is None:
            continue
        if name == "transformer" and config.lora_rank:
            torch.manual_seed(config.seed)  # A of B A is drawn
            add_lora(part, config.lora_rank, WAN_BLOCK)
        else:
            part.requires_grad_(True)
        if name == "transformer" and config.checkpointing:
            part.enable_gradient_checkpointing()
        numbers_to_vectors(part)
        part.train()
    return pipeline


def wanted_options(
    config: WanTrainConfig, device: torch.device
) -> dict[str, PerceptualLoss | None]:
    """The stage's optional losses that the run gives a weight, each with its network if it is one.

    Raises:
        ValueError: A network is not there.
    """
    return {
        name: open_perceptual(name, device) if name in NETWORKS else None
        for name in STAGES[config.stage].options
        if config.weights.get(name)
    }
