"""The real size is the one of Wan2.1-T2V-1.3B; random weights are repeatable and keep signals in range."""

import pytest
import torch

from diffst.wan import build_random, parameter_counts
from diffst.wan.build import cast_transformer, empty_parts
from diffst.wan.sizes import SIZES


def test_the_transformer_has_the_published_parameters():
    transformer = empty_parts(SIZES["1.3b"])["transformer"]
    counts = {
        name: sum(parameter.numel() for parameter in part.parameters())
        for name, part in transformer.named_children()
    }
    assert counts["patch_embedding"] == 99_840
    assert counts["condition_embedder"] == 25_574_400
    assert counts["blocks"] == 30 * 46_440_704
    assert counts["proj_out"] == 98_368
    assert sum(counts.values()) + 3_072 == 1_418_996_800
    state = transformer.state_dict()
    assert len(state) == 825
    assert all(tensor.is_meta for tensor in state.values())


def test_the_codec_has_the_published_parameters():
    codec = empty_parts(SIZES["1.3b"])["codec"]
    counts = {
        name: sum(parameter.numel() for parameter in part.parameters())
        for name, part in codec.vae.named_children()
    }
    assert counts == {
        "encoder": 53_595_872,
        "quant_conv": 1_056,
        "post_quant_conv": 272,
        "decoder": 73_295_331,
    }
    assert len(codec.state_dict()) == 194


def test_some_shapes_of_the_real_size():
    parts = empty_parts(SIZES["1.3b"])
    shapes = {key: tuple(tensor.shape) for key, tensor in parts["transformer"].state_dict().items()}
    assert shapes["patch_embedding.weight"] == (1536, 16, 1, 2, 2)
    assert shapes["condition_embedder.text_embedder.linear_1.weight"] == (1536, 4096)
    assert shapes["condition_embedder.time_proj.weight"] == (9216, 1536)
    assert shapes["blocks.29.attn1.norm_q.weight"] == (1536,)
    assert shapes["blocks.29.ffn.net.0.proj.weight"] == (8960, 1536)
    assert shapes["blocks.29.scale_shift_table"] == (1, 6, 1536)
    assert shapes["proj_out.weight"] == (64, 1536)
    vae = {key: tuple(tensor.shape) for key, tensor in parts["codec"].state_dict().items()}
    assert vae["vae.encoder.conv_in.weight"] == (96, 3, 3, 3, 3)
    assert vae["vae.decoder.mid_block.attentions.0.to_qkv.weight"] == (1152, 384, 1, 1)
    assert vae["vae.decoder.up_blocks.0.upsamplers.0.time_conv.weight"] == (768, 384, 3, 1, 1)
    assert vae["vae.decoder.conv_out.weight"] == (3, 96, 3, 3, 3)
    guidance = parts["vrg"].state_dict()
    assert tuple(guidance["out.weight"].shape) == (4096, 384)


def test_the_tiny_size_is_of_the_same_classes():
    tiny, full = empty_parts(SIZES["tiny"]), empty_parts(SIZES["1.3b"])
    assert {name: type(part) for name, part in tiny.items()} == {
        name: type(part) for name, part in full.items()
    }
    blocks = {key for key in full["transformer"].state_dict() if not key.startswith("blocks")}
    assert blocks == {
        key for key in tiny["transformer"].state_dict() if not key.startswith("blocks")
    }
    assert tiny["codec"].state_dict().keys() == full["codec"].state_dict().keys()


def test_the_same_seed_gives_the_same_weights():
    first, second, other = (build_random("tiny", seed=seed) for seed in (1, 1, 2))
    for name in ("cfca", "vrg", "transformer", "codec"):
        pairs = zip(
            first.components[name].state_dict().values(),
            second.components[name].state_dict().values(),
            strict=True,
        )
        assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(first.transformer.proj_out.weight, other.transformer.proj_out.weight)


def test_what_wan_keeps_in_float32_stays_in_float32():
    transformer = build_random("tiny", dtype=torch.bfloat16).transformer
    long = {
        key for key, parameter in transformer.named_parameters() if parameter.dtype == torch.float32
    }
    assert long == {
        "scale_shift_table",
        "condition_embedder.time_embedder.linear_1.weight",
        "condition_embedder.time_embedder.linear_1.bias",
        "condition_embedder.time_embedder.linear_2.weight",
        "condition_embedder.time_embedder.linear_2.bias",
        *(f"blocks.{i}.{name}" for i in (0, 1) for name in ("scale_shift_table", "norm2.weight")),
        *(f"blocks.{i}.norm2.bias" for i in (0, 1)),
    }
    again = cast_transformer(build_random("tiny", dtype=torch.float32).transformer, torch.bfloat16)
    assert {key: parameter.dtype for key, parameter in again.named_parameters()} == {
        key: parameter.dtype for key, parameter in transformer.named_parameters()
    }


def test_rotary_tables_are_real_numbers():
    made = build_random("tiny").transformer.rope
    torch.testing.assert_close(made.freqs_cos[0], torch.ones_like(made.freqs_cos[0]))
    assert made.freqs_sin.dtype == torch.float32


def test_parameters_are_counted_by_component():
    counts = parameter_counts(build_random("tiny"))
    assert list(counts) == ["cfca", "vrg", "transformer", "codec"]
    assert counts["cfca"] == 8 * 4 * 9 + 4 + 4 * 4 * 9 + 4 + 4 * 9 + 1 + 2


def test_an_unknown_size_is_refused():
    with pytest.raises(ValueError, match=r"`14b` is not one of 1\.3b, tiny"):
        build_random("14b")
