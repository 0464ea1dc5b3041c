"""Every lever alone, and all together, give what diffusers' own modules give."""

import pytest
import torch
from diffusers.models.attention_dispatch import AttentionBackendName
from diffusers.models.autoencoders.autoencoder_kl_wan import WanUpsample
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel

from diffst.wan import DiffSTWanPipeline, build_random
from diffst.wan.build import cast_transformer
from diffst.wan.fast_vae import NormActivation
from diffst.wan.fold import FoldedTransformer, fold_timestep
from diffst.wan.levers import CUDNN_ATTENTION, Levers, compile_parts, pull
from diffst.wan.vae_stream import DecoderStream, EncoderStream
from tests.diffst.test_cfca import smooth_clip
from tests.diffst.wan.native import same

VAE = ("fused_norms", "no_copies", "phase_convolutions", "channels_last")
TRANSFORMER = ("folded_timestep", "fused_projections")


@pytest.fixture(autouse=True)
def stock_doubles_in_the_given_type(monkeypatch):
    # Stock goes through float32 here, which would hide what float64 can show.
    monkeypatch.setattr(WanUpsample, "forward", torch.nn.Upsample.forward)


def pulled(*names: str, dtype: torch.dtype = torch.float64) -> DiffSTWanPipeline:
    pipeline = build_random("tiny", dtype=torch.float64, seed=3)
    # Scales and biases that say something: fresh ones are 1 and 0.
    generator = torch.Generator().manual_seed(5)
    for part in (pipeline.codec, pipeline.transformer):
        for parameter in part.parameters():
            noise = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
            parameter.data += 0.1 * noise
    torch.nn.Module.to(pipeline.codec, dtype=dtype)
    cast_transformer(pipeline.transformer, dtype)
    pull(pipeline, Levers(**dict.fromkeys(names, True)))
    return pipeline


def run(stream: EncoderStream | DecoderStream, given: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return torch.cat([*stream.feed(given), *stream.finish()], dim=2)


def video() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(1, 3, 14, 24, 32, generator=generator, dtype=torch.float64) * 2 - 1


def latents() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(1, 16, 5, 3, 4, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("names", [*((name,) for name in VAE), VAE])
@pytest.mark.parametrize("latents_per_call", [1, 2])
def test_the_vae_is_the_stock_one_to_rounding(names, latents_per_call):
    stock, fast = pulled().codec.vae, pulled(*names).codec.vae
    for kind, given in ((EncoderStream, video()), (DecoderStream, latents())):
        expected = run(kind(stock, latents_per_call), given)
        made = run(kind(fast, latents_per_call), given)
        assert made.shape == expected.shape
        torch.testing.assert_close(made, expected, rtol=1e-11, atol=1e-11)


def test_borders_by_the_convolution_change_no_bit():
    # All but the first latent, where taps on zeros are left out and the sum is another one.
    stock, fast = pulled().codec.vae.decoder, pulled("no_copies").codec.vae.decoder
    with torch.inference_mode():
        given = torch.rand(1, 4, 5, 6, 8, dtype=torch.float64)
        convolutions = (stock.up_blocks[3].resnets[0].conv1, fast.up_blocks[3].resnets[0].conv1)
        expected, made = (convolution(given) for convolution in convolutions)
    torch.testing.assert_close(made, expected, rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize("names", [(), VAE])
def test_short_types_are_as_near_to_the_truth_as_stock(names):
    exact = run(DecoderStream(pulled().codec.vae), latents())
    made = run(DecoderStream(pulled(*names, dtype=torch.bfloat16).codec.vae), latents().bfloat16())
    assert (made.double() - exact).abs().mean() < 0.05 * exact.std()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_norm_of_nothing_is_nothing(dtype):
    norm = pulled("fused_norms", dtype=dtype).codec.vae.decoder.norm_out
    assert type(norm) is NormActivation
    given = torch.zeros(1, 4, 2, 3, 3, dtype=dtype)
    assert not norm(given).any()
    small = torch.full_like(given, 1e-6)
    assert norm(small).isfinite().all()


def test_the_whole_call_without_a_cache_is_the_same_too():
    stock, fast = pulled().codec.vae, pulled(*VAE).codec.vae
    with torch.inference_mode():
        torch.testing.assert_close(
            fast.decoder(latents()), stock.decoder(latents()), rtol=1e-11, atol=1e-11
        )
        torch.testing.assert_close(
            fast.encoder(video()), stock.encoder(video()), rtol=1e-11, atol=1e-11
        )


def test_the_vaes_keys_and_weights_stay():
    stock, fast = pulled().codec, pulled(*VAE).codec
    assert same(fast.state_dict(), stock.state_dict())


def test_activations_follow_the_layout_of_the_weights():
    # On a CPU torch's 3-D convolution keeps this layout in bfloat16 only.
    vae = pulled(*VAE, dtype=torch.bfloat16).codec.vae
    seen: list[bool] = []

    def look(_module, _given, made):
        seen.append(made.is_contiguous(memory_format=torch.channels_last_3d))

    for network in (vae.encoder, vae.decoder):
        for module in network.modules():
            if type(module).__name__ in ("ResidualBlock", "Resample", "Conv"):
                module.register_forward_hook(look)
    with torch.inference_mode():
        for kind, given in ((EncoderStream, video()), (DecoderStream, latents())):
            stream = kind(vae)
            # A first frame alone has no layout of its own.
            stream.feed(given[:, :, :1].bfloat16())
            seen.clear()
            stream.feed(given[:, :, 1:].bfloat16())
            assert len(seen) > 50
            assert all(seen)


@pytest.mark.parametrize("names", [*((name,) for name in TRANSFORMER), TRANSFORMER])
def test_the_transformer_is_the_stock_one_to_rounding(names):
    stock, fast = pulled(), pulled(*names)
    given = torch.randn(3, 16, 6, 8, generator=torch.Generator().manual_seed(0)).double()
    guidance = torch.randn(1, 3, 16, generator=torch.Generator().manual_seed(1)).double()
    with torch.inference_mode():
        expected, made = (pipeline.window(given, guidance) for pipeline in (stock, fast))
    # Norms and modulation are in float32 in both, whatever the weights.
    torch.testing.assert_close(made, expected, rtol=0, atol=2e-5)
    assert (expected - given).abs().max() > 0.1


def test_folding_takes_the_timesteps_embedding_away():
    transformer = pulled("folded_timestep").transformer
    assert isinstance(transformer, FoldedTransformer)
    gone = pulled().transformer.state_dict().keys() - transformer.state_dict().keys()
    assert {key.rpartition(".")[0] for key in gone} == {
        "",
        "blocks.0",
        "blocks.1",
        "condition_embedder.time_embedder.linear_1",
        "condition_embedder.time_embedder.linear_2",
        "condition_embedder.time_proj",
    }


def test_levers_of_the_default_take_no_memory():
    def size(pipeline: DiffSTWanPipeline) -> int:
        parts = (pipeline.codec, pipeline.transformer)
        return sum(tensor.numel() for part in parts for tensor in part.state_dict().values())

    assert size(pulled(*Levers.exact().pulled)) < size(pulled())
    assert size(pulled("fused_projections")) > size(pulled())


def test_folding_twice_or_after_fusing_is_refused():
    with pytest.raises(ValueError, match="folded already"):
        fold_timestep(pulled("folded_timestep").transformer, 399.0)
    with pytest.raises(ValueError, match="before the projections"):
        fold_timestep(pulled("fused_projections").transformer, 399.0)


def test_another_timestep_folds_to_another_transformer():
    given = torch.randn(1, 16, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    made = []
    for timestep in (399.0, 700.0):
        pipeline = build_random("tiny", dtype=torch.float64)
        fold_timestep(pipeline.transformer, timestep)
        with torch.inference_mode():
            made.append(pipeline.window(given, torch.zeros(1, 1, 16).double()))
    assert (made[0] - made[1]).abs().max() > 1e-3


def test_a_folded_pipeline_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="changed for speed"):
        pulled("folded_timestep").save_pretrained(tmp_path / "model")


def test_all_levers_together_give_the_same_pictures():
    asked = (smooth_clip(4), [(0, 0.0), (0, 0.5), (1, 0.0), (2, 0.5), (3, 0.0)], (35, 51))
    stock, fast = pulled(dtype=torch.float32), pulled(*VAE, *TRANSFORMER, dtype=torch.float32)
    torch.testing.assert_close(fast(*asked), stock(*asked), rtol=0, atol=2e-4)


def test_the_attention_kernel_is_pinned_where_asked(monkeypatch):
    # The real call changes every model of the process, and there is no such kernel here.
    asked: list[str] = []
    monkeypatch.setattr(
        WanTransformer3DModel, "set_attention_backend", lambda _, name: asked.append(name)
    )
    pulled(*Levers.exact().pulled)
    assert asked == []
    pulled("folded_timestep", "cudnn_attention")
    assert asked == ["_native_cudnn"]
    assert AttentionBackendName(CUDNN_ATTENTION)  # diffusers knows the name


def test_levers_are_chosen_by_name():
    assert Levers.parse("stock") == Levers()
    assert Levers.parse("stock").pulled == []
    assert set(Levers.names()) - set(Levers.parse("exact").pulled) == {
        "cudnn_attention",
        "fused_projections",
        "compiled",
    }
    chosen = Levers.parse("no_copies,compiled")
    assert chosen == Levers(no_copies=True, compiled=True)
    assert chosen.pulled == ["no_copies", "compiled"]
    assert Levers.parse("exact,compiled").pulled == [*Levers.exact().pulled, "compiled"]
    with pytest.raises(ValueError, match="there is no lever `fast`; there are fused_norms, no_co"):
        Levers.parse("no_copies,fast")


@pytest.mark.slow
@pytest.mark.parametrize("names", [(), (*VAE, *TRANSFORMER)])
def test_compiled_parts_give_the_same(names):
    given = (smooth_clip(2), [(0, 0.0), (0, 0.5), (1, 0.0)], (16, 32))
    stock, fast = pulled(dtype=torch.float32), pulled(*names, dtype=torch.float32)
    compile_parts(fast, backend="aot_eager")  # all of the compiler but the making of code
    torch.testing.assert_close(fast(*given), stock(*given), rtol=0, atol=2e-4)
