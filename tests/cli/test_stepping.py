from dataclasses import replace

import pytest
import torch
from torch import Tensor

from diffst.limits import Limits
from diffst_cli import free_memory
from diffst_cli.errors import UserError
from diffst_cli.ladders import Rung, Workload
from diffst_cli.planner import RunPlan
from diffst_cli.stepping import SteppingModel, needed, shares
from tests.cli.test_clips import rules as clip_rules
from tests.fakes import BilinearModel, Call, TellingModel

INSTANTS = [(keyframe, alpha) for keyframe in range(8) for alpha in (0.0, 0.5)]
OUT_SIZE = (8, 12)


class GreedyModel(BilinearModel):
    """Runs out of memory when asked for more than `most` frames at once."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.asked: list[int] = []

    def before(self, call: Call) -> None:
        self.asked.append(len(call.instants))
        if len(call.instants) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 4.00 GiB")


class TiledModel(BilinearModel):
    """Runs out of memory unless its tiles are at most 512."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Limits] = []

    def keep_within(self, limits: Limits) -> None:
        self.told.append(limits)

    def before(self, call: Call) -> None:
        if self.told[-1].tile is None or self.told[-1].tile > 512:
            raise torch.OutOfMemoryError("CUDA out of memory")


def plan(*rungs: Rung, chosen: int = 0, device: str = "mps") -> RunPlan:
    work = Workload(
        frame_size=(6, 4),
        output_size=(12, 8),
        clip_keyframes=9,
        clip_frames=16,
        bytes_per_sample=1,
        precision="fp32",
    )
    rules = clip_rules(clip=8, overlap=1, context=1, max_moments=16)
    return RunPlan(
        model="any",
        device=device,
        precision="fp32",
        size=(12, 8),
        frame_rate=work.output_pixels,  # type: ignore[arg-type]  # of no account here
        num_frames=16,
        num_clips=1,
        clip_rules=rules,
        work=work,
        queue_in=2,
        queue_out=2,
        free_bytes=10**9,
        limit_bytes=None,
        budget_bytes=10**9,
        host_bytes=0,
        host_budget_bytes=10**9,
        rungs=rungs,
        chosen=chosen,
    )


def parts(number: int) -> Rung:
    return Rung(limits=Limits(), parts=number, device_bytes=8 // number)


def tiled(side: int | None) -> Rung:
    return Rung(limits=Limits(tile=side), device_bytes=side or 9999)


@pytest.fixture
def clip() -> Tensor:
    return torch.randint(0, 256, (9, 3, 4, 6), dtype=torch.uint8)


def test_how_far_a_model_is_is_told_by_those_that_tell(clip: Tensor):
    told: list[tuple[str, int, int]] = []
    for model in (TellingModel(), BilinearModel()):
        stepping = SteppingModel(model, plan(parts(2)), lambda _: None)
        stepping.watch(lambda *progress: told.append(progress))
        stepping(clip, INSTANTS, OUT_SIZE)
    # The clip is made in two parts.
    assert told == [("denoise", 0, 2), ("denoise", 1, 2)] * 2


def test_clip_is_done_again_in_parts_and_the_rest_too(clip: Tensor):
    said: list[str] = []
    model = GreedyModel(most=4)
    stepping = SteppingModel(model, plan(parts(1), parts(2), parts(4)), said.append)
    made = stepping(clip, INSTANTS, OUT_SIZE)
    assert torch.equal(made, BilinearModel()(clip, INSTANTS, OUT_SIZE))
    assert model.asked == [16, 8, 4, 4, 4, 4]
    assert said == [
        "memory ran out; what was at work is done again, and the rest: whole frames, clips in 2 parts",
        "memory ran out; what was at work is done again, and the rest: whole frames, clips in 4 parts",
    ]
    model.asked.clear()
    stepping(clip, INSTANTS, OUT_SIZE)
    assert model.asked == [4, 4, 4, 4]


def test_every_part_is_told_its_first_keyframe(clip: Tensor):
    told: list[int] = []

    class Counting(BilinearModel):
        def before(self, call: Call) -> None:
            told.append(call.first_keyframe)

    stepping = SteppingModel(Counting(), plan(parts(2)), lambda line: None)
    stepping(clip, INSTANTS, OUT_SIZE, None, 100)
    assert told == [100, 103]  # the second part's first frame needs one of context


def test_model_with_limits_is_told_the_next_rung(clip: Tensor):
    model = TiledModel()
    rungs = (tiled(None), tiled(1024), tiled(512), tiled(256))
    made = SteppingModel(model, plan(*rungs), lambda line: None)(clip, INSTANTS, OUT_SIZE)
    assert torch.equal(made, BilinearModel()(clip, INSTANTS, OUT_SIZE))
    assert [limits.tile for limits in model.told] == [None, 1024, 512]


def test_model_starts_at_the_rung_of_the_plan(clip: Tensor):
    model = TiledModel()
    SteppingModel(model, plan(tiled(None), tiled(512), chosen=1), lambda line: None)
    assert [limits.tile for limits in model.told] == [512]


def test_a_rung_that_takes_as_much_is_passed_over(clip: Tensor):
    model = TiledModel()
    rungs = [
        Rung(limits=Limits(tile=tile, clips_alone=alone), device_bytes=tile)
        for tile in (1024, 768, 512)
        for alone in (False, True)
    ]
    SteppingModel(model, plan(*rungs), lambda line: None)(clip, INSTANTS, OUT_SIZE)
    assert [(limits.tile, limits.clips_alone) for limits in model.told] == [
        (1024, False),
        (768, False),
        (512, False),
    ]


def test_a_rung_that_main_memory_does_not_hold_is_passed_over_where_another_is_left(clip: Tensor):
    def told(most_on_host: int) -> list[tuple[int | None, bool]]:
        model = TiledModel()
        rungs = [
            Rung(
                limits=Limits(tile=tile, clips_alone=alone),
                device_bytes=tile,
                host_bytes=0 if alone else tile,
            )
            for tile in (1024, 768, 512)
            for alone in (False, True)
        ]
        given = replace(plan(*rungs), host_budget_bytes=most_on_host)
        SteppingModel(model, given, lambda line: None)(clip, INSTANTS, OUT_SIZE)
        return [(limits.tile, limits.clips_alone) for limits in model.told]

    assert told(1024) == [(1024, False), (768, False), (512, False)]
    assert told(600) == [(1024, False), (768, True), (512, False)]


def test_where_main_memory_holds_none_of_what_takes_less_the_next_is_tried(clip: Tensor):
    model = TiledModel()
    rungs = [
        Rung(limits=Limits(tile=tile), device_bytes=tile, host_bytes=tile)
        for tile in (1024, 512, 256)
    ]
    given = replace(plan(*rungs, parts(1)), host_budget_bytes=1)
    SteppingModel(model, given, lambda line: None)(clip, INSTANTS, OUT_SIZE)
    assert [limits.tile for limits in model.told] == [1024, 512]


@pytest.mark.parametrize(("device", "has_another"), [("cuda:0", True), ("cpu", False)])
def test_no_rung_left_is_an_error_with_a_remedy(clip: Tensor, device: str, has_another: bool):
    given = replace(plan(parts(1), parts(2), device=device), chosen=1)
    stepping = SteppingModel(GreedyModel(most=3), given, lambda line: None)
    with pytest.raises(UserError, match="the device ran out of memory") as caught:
        stepping(clip, INSTANTS, OUT_SIZE)
    assert caught.value.hint is not None
    assert "--scale" in caught.value.hint
    assert ("--device cpu" in caught.value.hint) == has_another


def test_on_a_cpu_nothing_is_done_otherwise_on_the_way(clip: Tensor):
    model = GreedyModel(most=8)
    rungs = (parts(1), parts(2), parts(4))
    stepping = SteppingModel(model, plan(*rungs, device="cpu"), lambda line: None)
    with pytest.raises(UserError, match=r"^memory ran out$") as caught:
        stepping(clip, INSTANTS, OUT_SIZE)
    assert caught.value.hint is not None
    assert "--vram-limit" in caught.value.hint
    assert model.asked == [16]


def test_other_errors_pass_untouched(clip: Tensor):
    stepping = SteppingModel(BilinearModel(), plan(parts(1), parts(2)), lambda line: None)
    with pytest.raises(IndexError):
        stepping(clip, [(99, 0.0)], OUT_SIZE)


def test_memory_of_the_failed_attempt_is_given_back_first(
    clip: Tensor, monkeypatch: pytest.MonkeyPatch
):
    model = GreedyModel(most=8)
    asked_before: list[int] = []
    monkeypatch.setattr(
        "diffst_cli.stepping.give_back", lambda: asked_before.append(len(model.asked))
    )
    SteppingModel(model, plan(parts(1), parts(2)), lambda line: None)(clip, INSTANTS, OUT_SIZE)
    assert asked_before == [1]


def test_shares_cover_everything_once_in_order():
    assert list(shares(7, 3)) == [slice(0, 2), slice(2, 4), slice(4, 7)]


def test_needed_keyframes_include_context_where_there_is_some():
    assert needed([(4, 0.0), (5, 0.5)], 9, 2) == (2, slice(2, 8))
    assert needed([(0, 0.0)], 9, 0) == (0, slice(0, 2))
    assert needed([(8, 0.0)], 9, 2) == (6, slice(6, 9))


def test_gpu_limit_becomes_a_share_of_the_card(monkeypatch: pytest.MonkeyPatch):
    told: list[tuple[float, int | None]] = []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (20 * 10**9, 24 * 10**9))
    monkeypatch.setattr(
        torch.cuda,
        "set_per_process_memory_fraction",
        lambda share, index: told.append((share, index)),
    )
    free_memory.limit_device("cuda:1", 12 * 10**9)
    free_memory.limit_device("cuda:1", 48 * 10**9)
    free_memory.limit_device("cuda:1", None)
    free_memory.limit_device("cpu", 10**9)
    free_memory.limit_device("cuda", 12 * 10**9)  # torch refuses a device without a number here
    assert told == [(0.5, 1), (1.0, 1), (0.5, None)]
    assert free_memory.free_bytes("cuda:1") == 20 * 10**9
