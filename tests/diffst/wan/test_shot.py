"""A shot handed over clip by clip is the shot at once, in memory that does not grow with it."""

from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor

from diffst.limits import Limits
from diffst.pipeline import stage_clock
from diffst.upscaler import StreamingModel, WatchedModel
from diffst.wan import DiffSTWanPipeline, build_random
from diffst.wan.build import random_tiny_decoder
from diffst.wan.cuts import Cuts, VaeTiles
from diffst.wan.shot import Shot
from diffst.wan.stream import ShotStream
from diffst.wan.upscaler import WanUpscaler
from diffst.wan.windows import Step, Windows
from diffst_cli.clips import Clip, make_clips
from diffst_cli.reader import Frame
from diffst_cli.shot_streams import ClipMaker
from diffst_cli.stages import Stages
from diffst_cli.stitch import stitch
from diffst_cli.timing import Timeline
from tests.cli.test_clips import rules as clip_rules
from tests.diffst.wan.live_memory import LiveMemory

SIZE = (32, 48)
CPU = torch.device("cpu")
STEP = Fraction(1, 25)
RULES = clip_rules(clip=8, overlap=2, context=2, max_moments=100)


def footage(num_frames: int) -> Tensor:
    """A texture that moves, (T, 3, 8, 12) uint8."""
    wide = torch.rand(3, 8, 60, generator=torch.Generator().manual_seed(0))
    moved = [wide[..., n % 48 : n % 48 + 12] for n in range(num_frames)]
    return (torch.stack(moved) * 255).round().to(torch.uint8)


def clips(frames: Tensor) -> list[Clip]:
    """As the tool cuts them at twice the frame rate."""
    images = [np.ascontiguousarray(frame.permute(1, 2, 0).numpy()) for frame in frames]
    read = [Frame(image=image, time=n * STEP, index=n) for n, image in enumerate(images)]
    timeline = Timeline(fps_x=Fraction(2))
    return list(
        make_clips(((f, False) for f in read), timeline, RULES, lambda last: last.time + STEP)
    )


@pytest.fixture
def pipeline() -> DiffSTWanPipeline:
    """With windows that the shot's latents fill many times, and guidance that is the same for every clip."""
    made = DiffSTWanPipeline(
        **{**build_random("tiny", dtype=torch.float32).components, "vrg": None}, trained=True
    )
    made.cuts = Cuts(windows=Windows(latents=4, overlap_latents=2))
    return made


def in_tiles(pipeline: DiffSTWanPipeline) -> None:
    """Let the VAE take three tiles for two latents at once."""
    pipeline.cuts = Cuts(
        windows=pipeline.cuts.windows, vae_tiles=VaeTiles(side=32, overlap=16), latents_per_call=2
    )


@pytest.mark.parametrize("tiled", [False, True])
@pytest.mark.parametrize("decoder", ["full", "tiny"])
def test_a_shot_clip_by_clip_is_the_shot_at_once(
    pipeline: DiffSTWanPipeline, decoder: str, tiled: bool
):
    if decoder == "tiny":
        pipeline.codec.take_tiny_decoder(random_tiny_decoder("tiny", dtype=torch.float32))
    if tiled:
        in_tiles(pipeline)
    frames = footage(30).float() / 255
    instants = [(n // 2, n % 2 / 2) for n in range(59)]
    at_once = pipeline(frames, instants, SIZE)
    shot = pipeline.shot(SIZE)
    made: list[Tensor] = []
    for clip in clips(footage(30)):
        first = clip.frames[0].index
        seen = frames[first : first + len(clip.frames)]
        made += shot.feed(seen, clip.positions[clip.shared_before :])
    assert bool(made) is not tiled  # in tiles pictures come at the end
    made += shot.finish()
    # Motion is sought in other groups, so sums may be in another order.
    torch.testing.assert_close(torch.cat(made).clamp(0, 1), at_once, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_each_tile_of_a_shot_is_a_shot_of_the_whole_vae(pipeline: DiffSTWanPipeline):
    """A second way to put a tiled shot together: encode and decode each tile's crop as a whole picture."""
    pipeline.cuts = Cuts(vae_tiles=VaeTiles(side=32, overlap=0))
    frames, size = torch.rand(13, 3, 32, 64), (32, 64)
    made = torch.cat([*tiled_shot(pipeline, frames.split(3), size, lambda latents: latents)])
    for columns in (slice(0, 32), slice(32, 64)):
        crop = frames[..., columns]
        encoded = pipeline.codec.encode(crop, crop, (32, 32))
        expected = pipeline.codec.decode(encoded.latents, encoded)
        torch.testing.assert_close(made[..., columns], expected, rtol=0, atol=1e-5)


def tiled_shot(
    pipeline: DiffSTWanPipeline, frames: Sequence[Tensor], size: tuple[int, int], step: Step
) -> Iterator[Tensor]:
    shot = ShotStream(
        pipeline.codec, step, lambda: pipeline.cuts, size, stage=stage_clock(None, CPU)
    )
    for some in frames:
        yield from shot.feed(some)
    yield from shot.finish()


@pytest.mark.parametrize("limits", [Limits(), Limits(tile=256)])
def test_the_tools_cuts_are_not_seen(pipeline: DiffSTWanPipeline, limits: Limits):
    frames = footage(30)
    model = WanUpscaler("toy", pipeline, CPU)
    model.keep_within(limits)
    if limits.tile:
        in_tiles(pipeline)
    assert isinstance(model, StreamingModel)
    at_once = model(frames, [(n // 2, n % 2 / 2) for n in range(59)], SIZE)
    maker = ClipMaker(model, SIZE, Stages(), set())
    given = clips(frames)
    assert len(given) == 5
    made = [out.image for out in stitch(maker.make(given))][:59]  # the last one is shown twice
    difference = (torch.stack(made).int() - at_once.int()).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 1e-3
    # Each clip on its own begins with empty caches, which is seen.
    fading = [(clip, model(*asked(clip), SIZE)) for clip in given]
    faded = torch.stack([out.image for out in stitch(fading)][:59])
    assert (faded.int() - at_once.int()).abs().max() > 20


def asked(clip: Clip) -> tuple[Tensor, list[tuple[int, float]]]:
    images = torch.from_numpy(np.stack([frame.image for frame in clip.frames]))
    return images.permute(0, 3, 1, 2), clip.positions


@pytest.mark.slow
def test_memory_does_not_grow_with_the_shot(pipeline: DiffSTWanPipeline):
    def peak(num_frames: int) -> int:
        given = [(*asked(clip), clip.shared_before) for clip in clips(footage(num_frames))]
        with LiveMemory() as memory:
            for pictures in in_turn(pipeline.shot(SIZE), given):
                del pictures
        return memory.peak

    short, long = peak(20), peak(50)
    assert long == pytest.approx(short, rel=0.05)  # kept pictures would double it


def in_turn(
    shot: Shot, given: list[tuple[Tensor, list[tuple[int, float]], int]]
) -> Iterator[Tensor]:
    for frames, positions, shared in given:
        yield from shot.feed(frames, positions[shared:])
    yield from shot.finish()


def test_clips_are_made_alone_where_main_memory_is_short(pipeline: DiffSTWanPipeline):
    model = WanUpscaler("toy", pipeline, CPU)
    for limits in (Limits(), Limits(tile=256)):
        model.keep_within(limits)
        assert model.begin_shot(SIZE) is not None
    model.keep_within(Limits(tile=256, clips_alone=True))
    assert model.begin_shot(SIZE) is None


def test_a_tiled_shot_tells_how_far_it_is(pipeline: DiffSTWanPipeline):
    """Whoever hears nothing for half an hour takes a worker for hung."""
    model = WanUpscaler("toy", pipeline, CPU)
    assert isinstance(model, WatchedModel)
    told: list[tuple[str, int, int]] = []
    model.watch(lambda *progress: told.append(progress))
    in_tiles(pipeline)
    model(footage(5), [(n // 2, n % 2 / 2) for n in range(9)], SIZE)
    windows = [done for stage, done, total in told if stage == "latents" and total == 3]
    assert windows == [3]
    assert [(stage, done, total) for stage, done, total in told if stage != "latents"] == [
        *(("encode tiles", 1, 2), ("encode tiles", 2, 2)),
        *(("decode tiles", 1, 2), ("decode tiles", 2, 2)),
    ]
