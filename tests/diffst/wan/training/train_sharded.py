"""`diffst train` on the CPU through FSDP or DeepSpeed, which accelerate starts on GPUs alone; see test_sharding.

Run by `accelerate launch` as: train_sharded CONFIG.
"""

import sys
from typing import Any

from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

from diffst_cli.app import main

found = AcceleratorState.__init__


def spread_on_the_cpu(
    self: AcceleratorState,
    *args: Any,
    fsdp_plugin: Any = None,
    deepspeed_plugin: Any = None,
    **options: Any,
) -> None:
    """As accelerate goes on where processes have a GPU each; all else is its own code."""
    found(self, *args, fsdp_plugin=fsdp_plugin, deepspeed_plugin=deepspeed_plugin, **options)
    if self.distributed_type != DistributedType.MULTI_CPU:
        return
    if deepspeed_plugin is not None:
        self.distributed_type = DistributedType.DEEPSPEED
        deepspeed_plugin.set_mixed_precision("no")
        deepspeed_plugin.select(_from_accelerator_state=True)
        self.deepspeed_plugins = deepspeed_plugin
    elif fsdp_plugin is not None:
        self.distributed_type = DistributedType.FSDP
        self.fsdp_plugin = fsdp_plugin
    PartialState._shared_state["distributed_type"] = self.distributed_type


if __name__ == "__main__":
    AcceleratorState.__init__ = spread_on_the_cpu
    sys.exit(main(["train", sys.argv[1]]))
