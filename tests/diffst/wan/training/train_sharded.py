"""Three steps of stage 1 with weights spread by torch's `fully_shard`, as accelerate does on GPUs; see test_sharding.

Run as: train_sharded.py NUM_PROCESSES START OUT.
"""

import os
import socket
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from diffusers.training_utils import EMAModel
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.multiprocessing.spawn import spawn

from diffst.checkpoint import load_pipeline
from diffst.wan import DiffSTWanPipeline
from diffst.wan.training.sharding import numbers_to_vectors, whole
from diffst.wan.training.stages import Sample, StageModel
from tests.diffst.wan.training.toy import sample, toy_batch


def sharded_model(start: str, num_processes: int) -> StageModel:
    pipeline = load_pipeline(Path(start))
    assert isinstance(pipeline, DiffSTWanPipeline)
    pipeline.transformer.enable_gradient_checkpointing()
    for name in ("cfca", "vrg", "transformer"):
        pipeline.components[name].requires_grad_(True).train()
        numbers_to_vectors(pipeline.components[name])
    model = StageModel(1, pipeline)
    mesh = init_device_mesh("cpu", (num_processes,))
    for block in pipeline.transformer.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def work(rank: int, num_processes: int, port: int, start: str, out: str) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=num_processes)
    model = sharded_model(start, num_processes)
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    average = EMAModel(parameters, decay=0.5)
    both = vars(sample(toy_batch()))
    mine = Sample(**{name: value[rank::num_processes] for name, value in both.items()})
    norms = []
    for _ in range(3):
        torch.stack(list(model(mine, range(2)).values())).sum().backward()
        norms.append(float(whole(torch.nn.utils.clip_grad_norm_(parameters, 0.1))))
        optimizer.step()
        optimizer.zero_grad()
        average.step(parameters)
    names = [name for name, _ in model.named_parameters()]
    averaged = {
        name: whole(value) for name, value in zip(names, average.shadow_params, strict=True)
    }
    if rank == 0:
        torch.save({"norms": norms, "average": averaged}, out)
    dist.destroy_process_group()


def main() -> None:
    count, start, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    spawn(work, (count, port, start, out), count)


if __name__ == "__main__":
    main()
