"""What lies where, with the meta device in a GPU's place: no GPU was there to run this on."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from diffst.attempts import Attempt, Made, plainly
from diffst.cfca import CFCA
from diffst.limits import Limits
from diffst.pipeline import stage_clock
from diffst.wan import DiffSTWanPipeline
from diffst.wan.build import empty_parts, empty_tiny_decoder
from diffst.wan.codec import WanCodec
from diffst.wan.cuts import Cuts, VaeTiles
from diffst.wan.levers import Levers, pull
from diffst.wan.sizes import SIZES
from diffst.wan.stream import ShotStream
from diffst.wan.upscaler import WanUpscaler
from diffst_cli import memory_laws as laws
from tests.diffst.wan.short_of_memory import Repeated
from tests.diffst.wan.stand_in_gpu import GPU, MemoryOf, StandInGpu


def build(size: str = "1.3b") -> DiffSTWanPipeline:
    """All weights but CFCA's on the meta device, which takes no memory."""
    parts = empty_parts(SIZES[size])
    for part in (parts["transformer"], parts["codec"]):
        nn.Module.to(part, torch.bfloat16)
    kept = parts["transformer"]._keep_in_fp32_modules
    for key, parameter in parts["transformer"].named_parameters():
        if any(word in key.split(".") for word in kept):
            parameter.data = parameter.data.float()
    return DiffSTWanPipeline(
        cfca=CFCA(**SIZES[size].cfca).eval(), video_encoder=None, **parts, trained=True
    )


@pytest.mark.parametrize(
    ("limits", "decoder"),
    [
        (Limits(), "full"),
        (Limits(tile=256, latents_per_call=2), "full"),
        (Limits(), "tiny"),
        (Limits(tile=256), "tiny"),
    ],
)
def test_tensors_of_both_places_meet_only_in_copies(limits: Limits, decoder: str):
    pipeline = build("tiny")
    if decoder == "tiny":
        pipeline.codec.take_tiny_decoder(empty_tiny_decoder(SIZES["tiny"]))
    model = WanUpscaler("toy", pipeline, GPU)
    model.keep_within(limits)
    shot = model.begin_shot((272, 288))
    assert shot is not None
    frames = torch.zeros(5, 3, 34, 36, dtype=torch.uint8)
    instants = [(n // 2, n % 2 / 2) for n in range(9)]
    with StandInGpu():
        made = [*shot.feed(frames, instants), *shot.finish()]
    assert {(piece.device.type, piece.dtype) for piece in made} == {("cpu", torch.uint8)}
    assert torch.cat(made).shape == (9, 3, 272, 288)


def test_they_do_not_meet_either_where_a_shot_turns_to_tiles():
    model = WanUpscaler("toy", build("tiny"), GPU)
    model.keep_within(Limits(window_frames=13))

    class StepsDown(Repeated):
        """Fails once, when pictures were made already."""

        def __init__(self) -> None:
            self.count = 0

        def __call__(self, work: Callable[[], Made]) -> Made | None:
            self.count += 1
            if self.count != 30:
                return super().__call__(work)
            model.keep_within(Limits(window_frames=13, tile=256))
            return None

    shot = model.begin_shot((272, 288), attempt=StepsDown())
    assert shot is not None
    frames = torch.zeros(21, 3, 34, 36, dtype=torch.uint8)
    with StandInGpu():
        made = shot.feed(frames, [(n // 2, n % 2 / 2) for n in range(41)])
        assert made
        made += shot.finish()
    assert {(piece.device.type, piece.dtype) for piece in made} == {("cpu", torch.uint8)}
    assert torch.cat(made).shape == (41, 3, 272, 288)
    assert len(made[-1]) == 1  # as tiles give them


def test_the_stand_in_refuses_what_a_gpu_refuses():
    with StandInGpu():
        there, here = torch.zeros(2, device=GPU), torch.zeros(2)
        with pytest.raises(RuntimeError, match=r"of tensors in \['cpu', 'meta'\]"):
            there.mul_(here)
        assert torch.equal((there * 2).cpu(), here)


def fast_codec(size: str) -> WanCodec:
    pipeline = build(size)
    pull(pipeline, Levers.exact())
    return pipeline.codec


TILES = VaeTiles(side=256, overlap=64)
SIZE = (256, 448)


def held(
    codec: WanCodec, num_frames: int, attempt: Attempt = plainly, tiles: VaeTiles = TILES
) -> tuple[int, int]:
    """Most bytes on the device and in main memory while a shot in tiles is made."""

    def pieces() -> Iterator[Tensor]:
        for start in range(0, num_frames, 8):
            here = torch.empty(min(8, num_frames - start), 3, 64, 112, device=GPU)
            yield from shot.feed(here)
        yield from shot.finish()

    shot = ShotStream(
        codec,
        lambda latents: latents,
        lambda: Cuts(vae_tiles=tiles),
        SIZE,
        stage=stage_clock(None, GPU),
        kept=torch.float16,
        attempt=attempt,
    )
    with (
        MemoryOf("meta", codec) as device,
        MemoryOf("cpu") as host,
        StandInGpu(),
        torch.inference_mode(),
    ):
        assert sum(len(piece) for piece in pieces()) == num_frames
        assert device.bytes < 0.01 * device.peak  # nothing is left behind
    return device.peak, host.peak


@pytest.mark.parametrize(
    ("tiles", "pixels"), [(TILES, 256 * 256), (VaeTiles(side=448), SIZE[0] * SIZE[1])]
)
def test_a_tile_takes_what_the_planner_says(tiles: VaeTiles, pixels: int):
    device, _ = held(fast_codec("1.3b"), 9, tiles=tiles)
    law = laws.wan_tiled_bytes(pixels, 1, "full", SIZE[0] * SIZE[1])
    assert 0.93 * law < device < law


@pytest.mark.slow
def test_a_longer_shot_in_tiles_takes_only_main_memory_and_as_much_as_planned():
    codec = fast_codec("tiny")
    short, long = held(codec, 17), held(codec, 25)
    assert long[0] == pytest.approx(short[0], rel=0.001)
    law = laws.wan_shot_bytes(64 * 112, SIZE[0] * SIZE[1], 25 - 17, 1)
    law += laws.wan_tile_clip_bytes(TILES.side**2, 25 - 17, 1)
    assert 0.9 * law < long[1] - short[1] < law


def test_what_a_tile_remembers_waits_in_main_memory_where_its_clip_may_be_made_again(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("diffst.wan.tiles.CLIP_LATENTS", 1)
    codec = fast_codec("1.3b")
    without, kept = held(codec, 9), held(codec, 9, Repeated())
    assert kept[0] == without[0]  # nothing is on the device twice
    law = laws.wan_remembered_bytes(TILES.side**2, laws.WAN_TILE_CLIP_FRAMES + 1, "full")
    assert 0.93 * law < kept[1] - without[1] < law


def test_what_whole_pictures_left_leaves_the_device_where_the_rest_is_made_in_tiles():
    codec = fast_codec("1.3b")
    cuts = Cuts()
    shot = ShotStream(
        codec,
        torch.clone,
        lambda: cuts,
        SIZE,
        stage=stage_clock(None, GPU),
        kept=torch.float16,
        attempt=Repeated(),
    )
    frames = torch.empty(9, 3, 64, 112, device=GPU)
    with MemoryOf("meta", codec) as device, StandInGpu(), torch.inference_mode():
        made = [*shot.feed(frames)]
        before = device.bytes
        cuts = Cuts(vae_tiles=TILES)
        made += shot.feed(frames[:3])
        pixels = SIZE[0] * SIZE[1]
        assert before - device.bytes > 0.95 * laws.WAN_ENCODER_MEMORY_BYTES * pixels
        assert device.bytes < 0.01 * before
        made += shot.finish()
    assert sum(map(len, made)) == 9 + 3
