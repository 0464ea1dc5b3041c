"""Low-rank updates of a transformer, through peft: put in to be trained, put away into the weights to be used."""

from __future__ import annotations

from collections.abc import Sequence

from diffusers.loaders.peft import PeftAdapterMixin

# How diffusers names the layers that get one: the large products of an attention, and all those of a block of Wan's.
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
WAN_BLOCK = (*ATTENTION, "ffn.net.0.proj", "ffn.net.2")


def add_lora(transformer: PeftAdapterMixin, rank: int, targets: Sequence[str]) -> None:
    """Put updates of a rank beside the large weights, in place; what they say is 0 at first, and only they learn.

    Source: LoRA (Hu et al., 2021), W + B A with scale 1; B starts at 0.

    Args:
        transformer: A model of diffusers.
        rank: Of the updates.
        targets: Ends of the names of the layers that get one.

    Raises:
        ValueError: peft is not installed; it says what to do.
    """
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise ValueError(
            "`lora_rank` needs peft, which is not installed; run `pip install 'diffst[train]'`"
        ) from error
    transformer.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=list(targets)))


def merge_lora(transformer: PeftAdapterMixin) -> None:
    """Add the updates to the weights, W + B A, and leave a plain transformer, in place."""
    transformer.fuse_lora()
    transformer.unload_lora()
