"""Low-rank updates of the transformer, through peft: put in to be trained, put away into the weights to be used."""

from __future__ import annotations

from diffusers.models.transformers.transformer_wan import WanTransformer3DModel

# All large products of a block: self-attention, attention to the guidance, feed-forward.
TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2")


def add_lora(transformer: WanTransformer3DModel, rank: int) -> None:
    """Put updates of a rank beside the large weights, in place; what they say is 0 at first, and only they learn.

    Source: LoRA (Hu et al., 2021), W + B A with scale 1; B starts at 0.

    Raises:
        ValueError: peft is not installed; it says what to do.
    """
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise ValueError(
            "`lora_rank` needs peft, which is not installed; run `pip install diffst[train]`"
        ) from error
    transformer.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=list(TARGETS)))


def merge_lora(transformer: WanTransformer3DModel) -> None:
    """Add the updates to the weights, W + B A, and leave a plain transformer, in place."""
    transformer.fuse_lora()
    transformer.unload_lora()
