"""The real size: run once on the CPU, and its work counted where it takes no memory."""

import resource

import pytest
import torch
from accelerate import init_empty_weights
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from torch.utils.flop_counter import FlopCounterMode

from diffst.pipeline import stage_clock
from diffst.wan import build_random, parameter_counts
from diffst.wan.build import empty_tiny_decoder
from diffst.wan.codec import WanCodec
from diffst.wan.cuts import Cuts
from diffst.wan.fast_vae import drop_copies, fuse_norms, use_phases
from diffst.wan.levers import Levers, pull
from diffst.wan.sizes import SIZES
from diffst.wan.stream import ShotStream
from diffst.wan.vae_stream import DecoderStream, EncoderStream
from diffst_cli import memory_laws as laws
from tests.diffst.test_cfca import smooth_clip
from tests.diffst.wan.live_memory import LiveMemory
from tests.diffst.wan.short_of_memory import Repeated

pytestmark = pytest.mark.slow

PEAK_BYTES = 8e9  # weights 3.1 GB; other programs use the machine too
META = torch.device("meta")
LATENTS = (1, 16, 2, 90, 160)  # the first and one more, of 1280 x 720


@pytest.mark.timeout(1200)
def test_the_real_model_runs_on_a_cpu_with_and_without_its_levers():
    pipeline = build_random("1.3b")
    assert sum(parameter_counts(pipeline).values()) == (
        1_418_996_800 + 126_892_531 + 4_886_656 + 3_635
    )
    asked = (smooth_clip(3), [(0, 0.0), (0, 0.5), (1, 0.0), (1, 0.5), (2, 0.0)], (64, 128))
    stock = pipeline(*asked)
    assert stock.shape == (5, 3, 64, 128)
    assert stock.isfinite().all()
    assert stock.std() > 0.01
    pull(pipeline, Levers.exact())
    fast = pipeline(*asked)
    # bfloat16 keeps 8 bits, and thirty blocks and forty convolutions round in another order.
    assert (fast - stock).abs().mean() < 0.1 * stock.std()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 < PEAK_BYTES


def empty_codec() -> WanCodec:
    with init_empty_weights():
        codec: WanCodec = WanCodec(**SIZES["1.3b"].vae).to(torch.bfloat16)
    return codec


def operations(codec: WanCodec, way: str) -> int:
    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode(), torch.device("meta"):
        if way == "decode":
            DecoderStream(codec.vae).feed(torch.empty(LATENTS, dtype=torch.bfloat16))
        else:
            EncoderStream(codec.vae).feed(torch.empty(1, 3, 5, 720, 1280, dtype=torch.bfloat16))
    return int(counter.get_total_flops())


def test_stock_work_is_what_the_law_says():
    pixel_frames, attention = 5 * 720 * 1280, 1536 * 2 * (720 * 1280 / 64) ** 2
    # The first frame's time convolutions are left out by the law, so a clip of five lies a little off.
    decode, encode = operations(empty_codec(), "decode"), operations(empty_codec(), "encode")
    assert decode == pytest.approx(8.5e6 * pixel_frames + attention, rel=0.1)
    assert encode == pytest.approx(5.04e6 * pixel_frames + attention, rel=0.1)


@pytest.mark.parametrize(("size", "teraflops"), [((720, 1280), 277.8), ((1440, 2560), 3432.3)])
def test_the_transformers_work_is_what_was_counted(size: tuple[int, int], teraflops: float):
    with torch.device("meta"):
        transformer = WanTransformer3DModel(**SIZES["1.3b"].transformer).to(torch.bfloat16)
    latents = (1, 16, 9, size[0] // 8, size[1] // 8)
    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode(), torch.device("meta"):
        transformer(
            hidden_states=torch.empty(latents, dtype=torch.bfloat16),
            timestep=torch.empty(1),
            encoder_hidden_states=torch.empty(1, 512, 4096, dtype=torch.bfloat16),
        )
    assert counter.get_total_flops() / 1e12 == pytest.approx(teraflops, rel=0.001)


@pytest.mark.parametrize(("decoder", "least"), [("full", 0.97), ("tiny", 0.85)])
def test_a_streamed_shot_holds_what_the_planner_counts(decoder: str, least: float):
    codec = empty_codec()
    if decoder == "tiny":
        codec.take_tiny_decoder(empty_tiny_decoder(SIZES["1.3b"]))
    fuse_norms(codec.vae)
    drop_copies(codec.vae)
    use_phases(codec)
    pixels = 720 * 1280
    with torch.inference_mode(), torch.device("meta"), LiveMemory() as memory:
        shot = ShotStream(
            codec,
            lambda latents: latents.clone(),
            Cuts,
            (720, 1280),
            stage=stage_clock(None, META),
            attempt=Repeated(),
        )
        for _ in range(5):
            for pictures in shot.feed(torch.empty(8, 3, 180, 320)):
                del pictures
        kept = memory.bytes
    law = laws.wan_streamed_bytes(pixels, 1, decoder)
    assert least * law < memory.peak < 1.01 * law
    # Beside the VAE's memory there are latents that wait for their window.
    assert kept == pytest.approx(laws.wan_kept_bytes(pixels, decoder), rel=0.02)


def test_phases_and_left_out_taps_save_what_they_should():
    stock, phases = operations(empty_codec(), "decode"), empty_codec()
    use_phases(phases.vae)
    saved = stock - operations(phases, "decode")
    # Three doublings by 3 x 3 convolutions: 9 taps on 4 pixels against 4 x 4 on one, less a border.
    plain = sum(
        2 * frames * 4 * rows * columns * wide * wide // 2 * 9
        for frames, rows, columns, wide in (
            (3, 90, 160, 384),
            (5, 180, 320, 384),
            (5, 360, 640, 192),
        )
    )
    assert saved == pytest.approx(plain * 5 / 9, rel=0.02)
    lean = empty_codec()
    drop_copies(lean.vae)
    # Two of three taps of the first latent's convolutions meet zeros; it is one frame of five.
    assert 0.05 < 1 - operations(lean, "decode") / stock < 0.2
