"""A shot that runs out of memory makes the piece at hand again, one rung lower, and nothing else."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from diffst.limits import Limits
from diffst.pixels import to_integer
from diffst.wan import DiffSTWanPipeline, build_random
from diffst.wan.upscaler import WanUpscaler
from diffst_cli.clips import Clip
from diffst_cli.errors import UserError
from diffst_cli.ladders import Rung
from diffst_cli.shot_streams import ClipMaker
from diffst_cli.stages import Stages
from diffst_cli.stepping import SteppingModel
from tests.cli.test_stepping import plan as run_plan
from tests.diffst.wan.test_shot import CPU, SIZE, clips, footage

Parts = DiffSTWanPipeline
OWNERS: dict[str, tuple[Callable[[Parts], Any], str]] = {
    "vrg": (lambda parts: parts, "guidance"),
    "cfca": (lambda parts: parts.cfca, "forward"),
    "encode": (lambda parts: parts.codec, "encode_piece"),
    "dit": (lambda parts: parts, "window"),
    "decode": (lambda parts: parts.codec, "decode_piece"),
}
"""Where each stage's calls are counted."""


class Calls:
    """Counts the calls of a stage, and runs out of memory after having worked on some."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, parts: Parts, stage: str, *failing: int):
        self.count = 0
        self.sizes: list[int] = []
        self.failing = failing
        owner, name = OWNERS[stage][0](parts), OWNERS[stage][1]
        work = getattr(owner, name)

        def counted(*given: Any) -> Any:
            number, self.count = self.count, self.count + 1
            self.sizes.append(len(given[0]) if isinstance(given[0], Tensor) else 0)
            made = work(*given)
            if number in self.failing:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return made

        monkeypatch.setattr(owner, name, counted)


UPPER = Limits(tile=32, window_frames=13, latents_per_call=2)
OFFLOADED = Limits(tile=32, window_frames=13, latents_per_call=2, offload=True)


IN_SECOND_TILE = (
    16 + 4 + 1
)  # of the codec's calls: 4 for a tile's first clip, 3 for each of the others


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> WanUpscaler:
    """Takes two tiles for a picture, and five clips of two latents for a shot of eleven."""
    monkeypatch.setattr("diffst.wan.upscaler.TILE_OVERLAP", 16)
    monkeypatch.setattr("diffst.wan.tiles.CLIP_LATENTS", 2)
    parts = build_random("tiny", dtype=torch.float32).components
    return WanUpscaler("toy", DiffSTWanPipeline(**{**parts, "vrg": None}, trained=True), CPU)


def on(model: WanUpscaler, *limits: Limits) -> tuple[SteppingModel, list[str]]:
    """The model on a ladder, and what is said on the way down."""
    said: list[str] = []
    rungs = [
        Rung(limits=each, device_bytes=len(limits) - number) for number, each in enumerate(limits)
    ]
    return SteppingModel(model, run_plan(*rungs), said.append), said


def made_by(stepping: SteppingModel, given: list[Clip]) -> list[Tensor]:
    made = list(ClipMaker(stepping, SIZE, Stages(), set()).make(given))
    assert [clip for clip, _ in made] == given
    return [pictures for _, pictures in made]


def calls_more(
    model: WanUpscaler, calls: Calls, failing: int, upper: Limits, in_turn: Limits
) -> tuple[int, list[str]]:
    """How many calls more than undisturbed a failing one takes, and what is said; the bits are the same.

    On the lower rung parts lie elsewhere, which is not seen in them.
    """
    given = clips(footage(20))
    undisturbed = made_by(on(model, upper, in_turn)[0], given)
    num_undisturbed, calls.count, calls.failing = calls.count, 0, (failing,)
    stepping, said = on(model, upper, in_turn)
    for pictures, expected in zip(made_by(stepping, given), undisturbed, strict=True):
        assert torch.equal(pictures, expected)
    assert stepping.rung.limits == in_turn
    return calls.count - num_undisturbed, said


@pytest.mark.parametrize(
    ("stage", "failing", "repeated"),
    [
        ("vrg", 0, 1),
        ("cfca", 3, 1),
        # The second clip of the second tile, in its second call of three.
        ("encode", IN_SECOND_TILE, 2),
        ("dit", 2, 1),
        ("decode", IN_SECOND_TILE, 2),
    ],
)
def test_only_the_piece_at_hand_is_made_again(
    model: WanUpscaler,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    failing: int,
    repeated: int,
):
    calls = Calls(monkeypatch, model.pipeline, stage)
    num_more, said = calls_more(model, calls, failing, UPPER, OFFLOADED)
    assert num_more == repeated
    assert said == [
        "memory ran out; what was at work is done again, and the rest: tiles of up to 32 pixels, "
        "13 frames a window, 2 latents a call, parts moved to the device in turn"
    ]


@pytest.mark.parametrize("stage", ["encode", "decode"])
def test_fewer_latents_a_call_go_on_to_rounding(
    model: WanUpscaler,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
):
    given = clips(footage(20))
    fewer = Limits(tile=32, window_frames=13)
    undisturbed = made_by(on(model, UPPER)[0], given)
    calls = Calls(monkeypatch, model.pipeline, stage, IN_SECOND_TILE)
    stepping, said = on(model, UPPER, fewer)
    made = made_by(stepping, given)
    assert calls.count == 2 * 16 + 2
    assert len(said) == 1
    assert model.pipeline.cuts.latents_per_call == 1
    difference = (torch.cat(made).int() - torch.cat(undisturbed).int()).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 1e-3


def test_shorter_windows_begin_where_memory_ran_out_and_the_next_shot_begins_with_them(
    model: WanUpscaler,
    monkeypatch: pytest.MonkeyPatch,
):
    given = clips(footage(20))
    calls = Calls(monkeypatch, model.pipeline, "dit", 2)
    stepping, said = on(model, UPPER, Limits(tile=32, window_frames=9, latents_per_call=2))
    made_by(stepping, given)
    # Eleven latents: windows at 0 and 2, the one at 4 in vain, then at 4, 5, 6, 7, 8.
    assert calls.sizes == [4, 4, 4, 3, 3, 3, 3, 3]
    calls.sizes.clear()
    made_by(stepping, given)
    assert set(calls.sizes) == {3}
    assert len(said) == 1


def test_whole_pictures_may_come_next_and_leave_tiles_as_they_are(
    model: WanUpscaler,
    monkeypatch: pytest.MonkeyPatch,
):
    """Small pictures whole, with parts moved in turn, take less than a tile with all parts there."""
    given = clips(footage(20))
    undisturbed = made_by(on(model, UPPER)[0], given)
    Calls(monkeypatch, model.pipeline, "decode", IN_SECOND_TILE)
    stepping, _ = on(model, UPPER, Limits(window_frames=13, latents_per_call=2, offload=True))
    for pictures, expected in zip(made_by(stepping, given), undisturbed, strict=True):
        assert torch.equal(pictures, expected)


def test_a_piece_that_fails_on_the_last_rung_ends_it(
    model: WanUpscaler,
    monkeypatch: pytest.MonkeyPatch,
):
    calls = Calls(monkeypatch, model.pipeline, "dit", 2, 3)
    stepping, said = on(model, UPPER, OFFLOADED)
    with pytest.raises(UserError, match="the device ran out of memory"):
        made_by(stepping, clips(footage(20)))
    assert calls.count == 4
    assert len(said) == 1


WHOLE = Limits(window_frames=13)
IN_TURN = Limits(window_frames=13, offload=True)
IN_TILES = Limits(tile=32, window_frames=13)


@pytest.mark.parametrize(
    ("stage", "failing"),
    # The codec is called twice for each latent: with it, and with nothing more.
    [("vrg", 0), ("cfca", 3), ("encode", 8), ("dit", 2), ("decode", 8)],
)
def test_of_whole_pictures_too_only_the_call_at_hand_is_made_again(
    model: WanUpscaler, monkeypatch: pytest.MonkeyPatch, stage: str, failing: int
):
    calls = Calls(monkeypatch, model.pipeline, stage)
    num_more, said = calls_more(model, calls, failing, WHOLE, IN_TURN)
    assert num_more == 1
    assert said == [
        "memory ran out; what was at work is done again, and the rest: whole frames, "
        "13 frames a window, parts moved to the device in turn"
    ]


@pytest.mark.parametrize(("stage", "failing"), [("cfca", 8), ("decode", 28)])
def test_a_shot_of_whole_pictures_goes_on_in_tiles_and_the_next_begins_in_them(
    model: WanUpscaler, monkeypatch: pytest.MonkeyPatch, stage: str, failing: int
):
    given = clips(footage(40))
    undisturbed = made_by(on(model, WHOLE)[0], given)
    Calls(monkeypatch, model.pipeline, stage, failing)
    stepping, said = on(model, WHOLE, IN_TILES)
    before, after = list[Tensor](), list[Tensor]()
    for _, pictures in ClipMaker(stepping, SIZE, Stages(), set()).make(given):
        (after if said else before).append(pictures)
    assert stepping.rung.limits == IN_TILES
    assert len(said) == 1
    num_before = len(torch.cat(before))
    whole = torch.cat(undisturbed)
    assert torch.equal(torch.cat(before), whole[:num_before])
    # What it then is, to rounding: test_stream.py. Tiles see less than a whole picture.
    assert not torch.equal(torch.cat(after), whole[num_before:])
    begun = list(ClipMaker(stepping, SIZE, Stages(), set()).make(given))
    afresh = made_by(on(model, IN_TILES)[0], given)
    assert all(torch.equal(one, other) for (_, one), other in zip(begun, afresh, strict=True))


def test_one_tile_that_is_the_picture_differs_by_what_half_precision_rounds(
    model: WanUpscaler, monkeypatch: pytest.MonkeyPatch
):
    given = clips(footage(20))
    whole = torch.cat(made_by(on(model, WHOLE)[0], given)).int()
    Calls(monkeypatch, model.pipeline, "decode", 8)
    turned = torch.cat(made_by(on(model, WHOLE, Limits(tile=64, window_frames=13))[0], given))
    difference = (turned.int() - whole).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 0.03


def test_pictures_that_do_not_fit_as_codes_are_brought_over_again(
    model: WanUpscaler, monkeypatch: pytest.MonkeyPatch
):
    given = clips(footage(20))
    undisturbed = made_by(on(model, WHOLE)[0], given)
    short = iter([True])

    def codes(pictures: Tensor, kind: torch.dtype) -> Tensor:
        if next(short, False):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return to_integer(pictures, kind)

    monkeypatch.setattr("diffst.wan.upscaler.in_range", codes)
    stepping, said = on(model, WHOLE, IN_TURN)
    made = made_by(stepping, given)
    assert len(said) == 1
    assert all(torch.equal(one, other) for one, other in zip(made, undisturbed, strict=True))
