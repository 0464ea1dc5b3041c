import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from diffst import tiling
from diffst.limits import Limits
from diffst.wan.windows import Windows
from diffst_cli import ladders
from diffst_cli import memory_laws as laws
from diffst_cli.ladders import (
    Rung,
    Workload,
    cogvideox_ladder,
    nano_ladder,
    nano_rung,
    star_ladder,
    wan_ladder,
)

GOALS = {  # output size and memory in GB -> side of the tiles, and the rung's bytes in GB
    (1280, 720, 12): (1024, 8.3),
    (1920, 1080, 16): (1024, 9.4),
    (3840, 2160, 24): (1536, 18.9),
    (1280, 720, 8): (512, 5.3),
}


def workload(**values: Any) -> Workload:
    usual: dict[str, Any] = {
        "frame_size": (320, 180),
        "output_size": (1280, 720),
        "clip_keyframes": 20,
        "clip_frames": 33,
        "bytes_per_sample": 1,
        "precision": "bf16",
    }
    return Workload(**{**usual, **values})


def first_within(rungs: Iterator[Rung], gigabytes: float) -> Rung:
    """The rung that a card of this size gets: 90 % of it, less 1 GB."""
    return next(rung for rung in rungs if rung.device_bytes <= (0.9 * gigabytes - 1) * 1e9)


@pytest.mark.parametrize("goal", GOALS)
def test_wan_fits_the_cards_it_is_meant_for(goal: tuple[int, int, int]):
    width, height, gigabytes = goal
    frames = min(
        66, 512 * 2**20 // (width * height * 3)
    )  # as the planner cuts clips at twice the rate
    work = workload(
        output_size=(width, height), frame_size=(width // 4, height // 4), clip_frames=frames
    )
    rung = first_within(wan_ladder(work), gigabytes)
    side, taken = GOALS[goal]
    assert (rung.limits.tile, rung.limits.offload) == (side, False)
    assert rung.limits.window_frames == min(33, frames)
    assert rung.device_bytes / 1e9 == pytest.approx(taken, abs=0.05)


def test_parts_in_turn_let_wan_run_on_smaller_cards():
    def least(offload: bool) -> float:
        rungs = [rung for rung in wan_ladder(workload()) if rung.limits.offload is offload]
        return min(rung.device_bytes for rung in rungs if rung.limits.tile == 512) / 1e9

    assert least(False) == pytest.approx(5.2, abs=0.05)
    assert least(True) == pytest.approx(4.7, abs=0.05)
    waiting = {
        rung.host_bytes
        for rung in wan_ladder(workload())
        if rung.limits.offload and rung.limits.tile is None
    }
    assert waiting == {laws.wan_weights_bytes()}


def test_wan_leaves_a_picture_whole_where_a_stage_at_a_time_fits():
    """The other half of the VAE then remembers nothing meanwhile, and nothing is made twice."""
    rung = first_within(wan_ladder(workload()), 16)
    assert (rung.limits.tile, rung.limits.offload) == (1280, False)
    assert rung.words == "whole frames, one stage after the other, 33 frames a window"
    tiny = [rung.limits.tile for rung in wan_ladder(workload(output_size=(64, 48)))]
    assert set(tiny) == {None, 256}  # longer than what tiles share


@pytest.mark.parametrize("ladder", [nano_ladder, wan_ladder, star_ladder, cogvideox_ladder])
@pytest.mark.parametrize("frames", [1, 5, 33])
@pytest.mark.parametrize("size", [(64, 48), (400, 300), (1280, 720), (3840, 2160)])
def test_no_two_ways_have_the_same_words(
    ladder: Callable[[Workload], Iterator[Rung]], frames: int, size: tuple[int, int]
):
    for can_offload in (True, False):
        work = workload(clip_frames=frames, can_offload=can_offload, output_size=size)
        words = [rung.words for rung in ladder(work)]
        assert len(set(words)) == len(words) > 1


def test_nano_is_tiled_as_its_model_tiles_itself():
    assert ladders.NANO_WHOLE_PIXELS == tiling.WHOLE_PIXELS
    assert ladders.NANO_TILE_PIXELS == tiling.LONGEST_SIDE**2


def test_wan_sees_as_much_at_once_as_its_model_does():
    assert math.prod(Windows().tokens) == ladders.WAN_MOST_TOKENS
    assert 4 * (Windows().latents - 1) + 1 == ladders.WAN_WINDOW_FRAMES


@pytest.mark.parametrize("side", ladders.NANO_SMALL_TILES)
def test_a_small_tile_is_no_longer_than_is_counted(side: int):
    longest = side + ladders.NANO_TILE_SLACK
    for width in range(side + 1, 2000, 7):
        for span in tiling.spans(width, 4 * width, side):
            assert tiling.length(span.seen) <= longest


def test_nano_takes_more_for_each_picture_that_it_makes_at_once():
    one, two = (next(nano_ladder(workload(lanes=lanes))).device_bytes for lanes in (1, 2))
    pixels = min(workload().frame_pixels, ladders.NANO_TILE_PIXELS)
    assert two - one == pixels * laws.NANO_FRAME_BYTES["bf16"]


def test_nano_says_whether_it_cuts_pictures():
    small, large = (
        next(nano_ladder(workload(frame_size=size))) for size in ((320, 180), (1920, 1080))
    )
    assert (small.words, large.words) == ("whole frames", "the model's own tiles")


def test_wan_does_whole_frames_where_there_is_room():
    rung = first_within(wan_ladder(workload()), 24)
    assert (rung.limits.tile, rung.limits.offload) == (None, False)
    assert rung.words == "whole frames, 33 frames a window"


def test_whole_wan_frames_take_what_was_counted_of_a_shot_that_is_streamed():
    """Live tensors of the VAE's halves with the exact levers, on meta tensors, 30 November 2026: 16.40 KB a pixel."""
    (first, *_) = wan_ladder(workload())
    counted = 16.40e3 * 1280 * 720 + laws.wan_weights_bytes()
    assert first.device_bytes / 1e9 == pytest.approx(counted / 1e9, abs=0.3)
    (*_, offloaded) = (
        rung for rung in wan_ladder(workload()) if rung.limits.tile is None and rung.limits.offload
    )
    # The shot's memory stays while the VAE's weights are away.
    assert offloaded.device_bytes / 1e9 == pytest.approx(
        16.40e-6 * 1280 * 720 + laws.WAN_VAE_BYTES / 1e9, abs=0.3
    )


def test_star_does_its_goal_in_16_gigabytes():
    work = workload(frame_size=(426, 240), output_size=(1704, 960), clip_frames=32)
    rung = first_within(star_ladder(work), 16)
    assert rung.limits.tile is None
    assert not rung.limits.offload
    assert (rung.limits.window_frames, rung.limits.latents_per_call) == (32, 1)


@pytest.mark.parametrize("ladder", [nano_ladder, wan_ladder, star_ladder])
def test_last_rung_takes_least_and_every_rung_is_told_apart(
    ladder: Callable[[Workload], Iterator[Rung]],
):
    rungs = list(ladder(workload(output_size=(3840, 2160), frame_size=(960, 540))))
    assert len(rungs) > 3
    assert rungs[-1].device_bytes == min(rung.device_bytes for rung in rungs)
    assert len({(rung.limits, rung.parts) for rung in rungs}) == len(rungs)


@pytest.mark.parametrize("ladder", [nano_ladder, wan_ladder, star_ladder])
def test_float32_takes_more(ladder: Callable[[Workload], Iterator[Rung]]):
    short, long = (next(ladder(workload(precision=name))) for name in ("bf16", "fp32"))
    assert long.device_bytes > 1.2 * short.device_bytes


def test_nano_takes_smaller_tiles_then_shorter_clips():
    def steps(**values: Any) -> list[tuple[int | None, int]]:
        return [(rung.limits.tile, rung.parts) for rung in nano_ladder(workload(**values))]

    assert steps(clip_frames=5) == [(None, 1), (1024, 1), (512, 1), (512, 2), (512, 4), (512, 8)]
    assert steps(clip_frames=1) == [(None, 1), (1024, 1), (512, 1)]
    small = {"frame_size": (64, 48), "output_size": (128, 96)}
    assert steps(clip_frames=3, **small) == [(None, 1), (None, 2), (None, 4)]


def test_star_on_cogvideox_moves_its_parts_in_turn_on_small_cards_only():
    choices = {
        gigabytes: first_within(cogvideox_ladder(workload(clip_frames=25)), gigabytes).limits
        for gigabytes in (16, 24, 40)
    }
    assert {size: (limits.tile, limits.offload) for size, limits in choices.items()} == {
        40: (None, False),
        24: (512, False),
        16: (None, True),
    }


def test_star_on_cogvideox_counts_weights_and_the_larger_of_its_two_halves():
    (first, *_) = cogvideox_ladder(workload(clip_frames=25))
    weights, decoded = 11.14e9 + 0.43e9, 32e3 * 480 * 720
    clip = 12 * 1280 * 720 * 25
    assert first.device_bytes == round(weights + decoded + clip)
    (*_, last) = cogvideox_ladder(workload(clip_frames=25))
    tokens = 226 + 7 * 1350
    # The VAE stays: the library that moves parts takes away what comes before, and nothing comes after it.
    assert last.device_bytes == round(weights + 110e3 * tokens + clip)


def test_star_keeps_its_vae_on_the_device_while_its_network_works():
    rungs = list(star_ladder(workload(precision="fp16")))
    (moved,) = (
        rung
        for rung in rungs
        if rung.limits == Limits(latents_per_call=1, window_frames=8, offload=True)
    )
    network = laws.star_network_bytes(1280 * 720, 10)
    assert moved.device_bytes == round(4.08e9 + 0.26e9 + network)


@pytest.mark.parametrize("ladder", [wan_ladder, star_ladder, cogvideox_ladder])
def test_nothing_is_moved_where_there_is_one_memory(
    ladder: Callable[[Workload], Iterator[Rung]],
):
    rungs = list(ladder(workload(can_offload=False)))
    assert not any(rung.limits.offload for rung in rungs)
    assert rungs[-1].device_bytes < rungs[0].device_bytes


def test_a_part_of_a_clip_shares_a_keyframe_with_the_next():
    work = workload(clip_keyframes=20)
    of_nine, of_ten = (nano_rung(replace(work, clip_keyframes=n), None, 2) for n in (18, 20))
    whole = nano_rung(replace(work, clip_keyframes=11, clip_frames=17), None, 1)
    assert nano_rung(work, None, 2).device_bytes == whole.device_bytes
    assert of_nine.device_bytes < of_ten.device_bytes


def test_only_new_frames_keep_finished_keyframes():
    work = workload()
    plain, new = (nano_rung(replace(work, makes_new=new), None, 1) for new in (False, True))
    assert new.device_bytes - plain.device_bytes >= 7 * 4 * 1280 * 720


def test_what_the_vae_remembers_lies_beside_the_transformer():
    work = workload(output_size=(1280, 720), can_offload=True)
    whole = next(wan_ladder(work))
    tokens = 1280 * 720 // 256 * laws.wan_latents(33)
    beside = laws.wan_weights_bytes() + laws.wan_kept_bytes(1280 * 720, work.decoder)
    assert whole.device_bytes >= beside + laws.wan_transformer_bytes(tokens)


def test_a_shot_in_float32_moves_weights_of_that_size():
    halves, floats = (
        next(
            rung
            for rung in wan_ladder(workload(precision=kind, can_offload=True))
            if rung.limits.offload and rung.limits.tile is None
        )
        for kind in ("bf16", "fp32")
    )
    assert floats.host_bytes == pytest.approx(2 * halves.host_bytes, abs=2)
