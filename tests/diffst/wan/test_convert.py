"""Wan's published layouts become a pipeline, strictly; what does not fit is refused."""

import json

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from safetensors.torch import save_file

from diffst.wan import build_random
from diffst.wan.build import empty_parts
from diffst.wan.convert import pipeline_from_wan, transformer_layout, vae_layout
from diffst.wan.sizes import SIZES
from tests.diffst.test_cfca import smooth_clip
from tests.diffst.wan.native import native_transformer, native_vae, native_velocity, same

TINY = SIZES["tiny"]


@pytest.fixture(scope="module")
def parts():
    pipeline = build_random("tiny", dtype=torch.float32)
    return pipeline.transformer.state_dict(), pipeline.codec.vae.state_dict()


def test_every_key_of_the_real_size_converts():
    full = empty_parts(SIZES["1.3b"])
    transformer = full["transformer"].state_dict()
    native = native_transformer(transformer)
    assert "blocks.29.cross_attn.norm_k.weight" in native
    assert "blocks.29.norm3.bias" in native
    assert not native.keys() & {key for key in transformer if key.startswith("blocks.")}
    assert transformer_layout(dict(native)).keys() == transformer.keys()
    prefixed = {f"model.diffusion_model.{key}": value for key, value in native.items()}
    assert transformer_layout(prefixed).keys() == transformer.keys()
    vae = full["codec"].vae.state_dict()
    native = native_vae(vae)
    assert len(native) == 194
    assert "decoder.upsamples.4.shortcut.weight" in native
    assert "decoder.upsamples.11.resample.1.weight" in native
    assert "encoder.downsamples.8.time_conv.bias" in native
    assert vae_layout(native).keys() == vae.keys()


@pytest.mark.parametrize("layout", ["native", "prefixed", "diffusers", "pth"])
def test_each_layout_gives_the_same_weights(tmp_path, parts, layout):
    transformer, vae = parts
    files = {"transformer": native_transformer(transformer), "vae": native_vae(vae)}
    if layout == "diffusers":
        files = {"transformer": transformer, "vae": vae}
    if layout == "prefixed":
        files["transformer"] = {
            f"model.diffusion_model.{key}": value for key, value in files["transformer"].items()
        }
    suffix = "pth" if layout == "pth" else "safetensors"
    for name, weights in files.items():
        path = tmp_path / f"{name}.{suffix}"
        if layout == "pth":
            torch.save(weights, path)
        else:
            save_file(weights, path)
    made = pipeline_from_wan(
        tmp_path / f"transformer.{suffix}", tmp_path / f"vae.{suffix}", size=TINY
    )
    assert same(made.transformer.state_dict(), transformer)
    assert same(made.codec.vae.state_dict(), vae)
    assert made.config.trained is False


def test_the_callers_random_numbers_are_not_those_of_the_seed(tmp_path):
    pipeline = build_random("tiny", dtype=torch.float32)
    pipeline.transformer.save_pretrained(tmp_path / "transformer")
    pipeline.codec.vae.save_pretrained(tmp_path / "vae")
    fresh, numbers = [], []
    for seed in (5, 6):
        torch.manual_seed(seed)
        made = pipeline_from_wan(tmp_path / "transformer", tmp_path / "vae", size=TINY)
        fresh.append(torch.cat([value.flatten() for value in made.vrg.state_dict().values()]))
        numbers.append(torch.rand(3))
    assert torch.equal(*fresh)
    assert not torch.equal(*numbers)


def test_the_public_folder_with_shards_is_read(tmp_path):
    pipeline = build_random("tiny", dtype=torch.float32)
    pipeline.transformer.save_pretrained(tmp_path / "transformer", max_shard_size="40KB")
    pipeline.codec.vae.save_pretrained(tmp_path / "vae")
    assert len(list((tmp_path / "transformer").glob("*-of-*.safetensors"))) > 1
    made = pipeline_from_wan(
        tmp_path / "transformer", tmp_path / "vae", size=TINY, dtype=torch.bfloat16
    )
    assert made.transformer.proj_out.weight.dtype == torch.bfloat16
    assert made.transformer.scale_shift_table.dtype == torch.float32
    assert made.codec.dtype == torch.bfloat16
    expected = pipeline.transformer.proj_out.weight.to(torch.bfloat16)
    assert torch.equal(made.transformer.proj_out.weight, expected)
    index = tmp_path / "transformer" / "diffusion_pytorch_model.safetensors.index.json"
    shard = sorted(set(json.loads(index.read_text())["weight_map"].values()))[0]
    (tmp_path / "transformer" / shard).unlink()
    with pytest.raises(FileNotFoundError, match=shard):
        pipeline_from_wan(tmp_path / "transformer", tmp_path / "vae", size=TINY)


@pytest.mark.parametrize("timestep", [0.0, 399.0, 999.0])
def test_converted_weights_do_what_the_native_model_does(timestep):
    transformer = build_random("tiny", dtype=torch.float64).transformer
    native = native_transformer(transformer.state_dict())
    generator = torch.Generator().manual_seed(0)
    for value in native.values():
        value.copy_(0.2 * torch.randn(value.shape, generator=generator, dtype=value.dtype))
    transformer.load_state_dict(transformer_layout(dict(native)), strict=True)
    latents = torch.randn(16, 3, 8, 10, generator=generator, dtype=torch.float64)
    context = torch.randn(7, 16, generator=generator, dtype=torch.float64)
    with torch.inference_mode():
        made = transformer(
            hidden_states=latents[None],
            timestep=torch.tensor([timestep]),
            encoder_hidden_states=context[None],
        ).sample[0]
    expected = native_velocity(
        {key: value.double() for key, value in native.items()}, latents, timestep, context, heads=2
    )
    assert expected.std() > 0.1
    # diffusers norms, turns and embeds the timestep in float32.
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-4 * float(expected.std()))


def test_it_starts_as_wan_without_guidance(tmp_path, parts):
    for name, weights in zip(("transformer", "vae"), parts, strict=True):
        save_file(weights, tmp_path / f"{name}.safetensors")
    made = pipeline_from_wan(
        tmp_path / "transformer.safetensors", tmp_path / "vae.safetensors", size=TINY
    )
    assert not made.guidance(smooth_clip(2).unsqueeze(0)).any()
    assert not made.cfca.score[-1].weight.any()


def test_a_pickle_that_would_run_code_is_refused(tmp_path, parts):
    save_file(parts[0], tmp_path / "t.safetensors")
    torch.save({"hook": print}, tmp_path / "v.pth")
    with pytest.raises(ValueError, match="holds more than tensors"):
        pipeline_from_wan(tmp_path / "t.safetensors", tmp_path / "v.pth", size=TINY)


@pytest.mark.parametrize("content", [b"", b"cut off"])
@pytest.mark.parametrize("name", ["v.pth", "v.safetensors"])
def test_a_damaged_file_is_named(tmp_path, parts, name, content):
    save_file(parts[0], tmp_path / "t.safetensors")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}` is damaged"):
        pipeline_from_wan(tmp_path / "t.safetensors", tmp_path / name, size=TINY)


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_weights_that_do_not_fit_are_refused(tmp_path, parts, change):
    transformer, vae = native_transformer(parts[0]), native_vae(parts[1])
    key = "blocks.1.self_attn.q.weight"
    if change == "missing":
        del transformer[key]
    elif change == "extra":
        transformer["blocks.9.self_attn.q.weight"] = torch.zeros(1)
    else:
        transformer[key] = torch.zeros(3, 3)
    save_file(transformer, tmp_path / "t.safetensors")
    save_file(vae, tmp_path / "v.safetensors")
    with pytest.raises(ValueError, match="do not fit"):
        pipeline_from_wan(tmp_path / "t.safetensors", tmp_path / "v.safetensors", size=TINY)


def test_the_vae_of_another_family_is_refused(tmp_path, parts):
    size = {"base_dim": 4, "z_dim": 16, "in_channels": 12, "patch_size": 2}
    save_file(parts[0], tmp_path / "t.safetensors")
    AutoencoderKLWan(**size, is_residual=True).save_pretrained(tmp_path / "v")
    with pytest.raises(ValueError, match="do not fit"):
        pipeline_from_wan(tmp_path / "t.safetensors", tmp_path / "v", size=TINY)


def test_a_file_with_more_than_tensors_is_refused(tmp_path, parts):
    torch.save({"model": native_vae(parts[1])}, tmp_path / "v.pth")
    save_file(parts[0], tmp_path / "t.safetensors")
    with pytest.raises(ValueError, match="not a plain table of tensors"):
        pipeline_from_wan(tmp_path / "t.safetensors", tmp_path / "v.pth", size=TINY)
    with pytest.raises(FileNotFoundError, match="no such file"):
        pipeline_from_wan(tmp_path / "gone.safetensors", tmp_path / "v.pth", size=TINY)
