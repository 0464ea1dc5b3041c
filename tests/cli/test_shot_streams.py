import hashlib
import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from diffst.attempts import Attempt, plainly, until_made
from diffst.limits import Limits
from diffst.pipeline import OnStage
from diffst_cli.clips import Clip, ClipRules, make_clips
from diffst_cli.errors import UserError
from diffst_cli.ladders import Rung
from diffst_cli.segments import Segment
from diffst_cli.shot_streams import ClipMaker
from diffst_cli.stages import Stages
from diffst_cli.stepping import SteppingModel
from diffst_cli.stitch import stitch
from diffst_cli.timing import Timeline
from tests.cli.test_clips import STEP, any_rules, even, rules, videos
from tests.cli.test_segments import frame, plan
from tests.cli.test_stepping import plan as run_plan
from tests.fakes import BilinearModel

OUT_SIZE = (1, 1)
LAG = 3  # instants by which pictures lag behind, and that they depend on
ALL = 10**6  # of a shot, as in tiles


class RememberedShot:
    """Each picture depends on all instants of the shot before it and on as many after it as the model lags behind."""

    def __init__(self, model: "RememberingModel") -> None:
        self.model = model
        self.given: list[tuple[int, float]] = []
        self.num_made = 0

    def feed(self, frames: Tensor, instants: Sequence[tuple[int, float]]) -> list[Tensor]:
        first = int(frames[0, 0, 0, 0])
        self.given += [(first + keyframe, alpha) for keyframe, alpha in instants]
        return self.made(max(len(self.given) - self.model.lag, 0))

    def finish(self) -> list[Tensor]:
        return self.made(len(self.given))

    def made(self, stop: int) -> list[Tensor]:
        lag = self.model.lag
        seen = [self.given[: number + 1 + lag] for number in range(self.num_made, stop)]
        self.num_made = stop
        return [picture(instants) for instants in seen]


class RememberingModel(BilinearModel):
    """Makes shots as streams."""

    def __init__(self, *, lag: int = LAG) -> None:
        super().__init__()
        self.lag = lag
        self.shots: list[RememberedShot] = []
        self.attempts: list[Attempt] = []

    def begin_shot(
        self,
        out_size: tuple[int, int],
        on_stage: OnStage | None = None,
        attempt: Attempt = plainly,
    ) -> RememberedShot | None:
        self.attempts.append(attempt)
        self.shots.append(RememberedShot(self))
        return self.shots[-1]

    def __call__(
        self,
        frames: Tensor,
        instants: Sequence[tuple[int, float]],
        out_size: tuple[int, int],
        on_stage: OnStage | None = None,
        first_keyframe: int = 0,
    ) -> Tensor:
        shot = RememberedShot(self)
        return torch.cat([*shot.feed(frames, instants), *shot.finish()])


def picture(instants: Sequence[tuple[int, float]]) -> Tensor:
    digest = hashlib.sha256(repr(list(instants)).encode()).digest()
    return torch.frombuffer(bytearray(digest[:3]), dtype=torch.uint8).view(1, 3, 1, 1)


def make(
    run: Sequence[Segment],
    times: Sequence[Fraction],
    clip_rules: ClipRules,
    lag: int = LAG,
    **rate: Any,
) -> list[tuple[Fraction, list[int]]]:
    """Output of consecutive segments, asked for one after another, as `SegmentMaker` does it."""
    first, last = run[0], run[-1]
    cuts = {cut for segment in run for cut in segment.cuts}
    clips = make_clips(
        ((frame(i, times[i]), i in cuts) for i in range(first.first_keyframe, last.stop_keyframe)),
        Timeline(**rate, state=first.timeline),
        clip_rules,
        lambda _: last.end if last.end is not None else pytest.fail("read past the segment"),
        first_instant=first.first_instant,
        shared=first.shared,
    )
    stops = {first.start}
    made = stitch(ClipMaker(RememberingModel(lag=lag), OUT_SIZE, Stages(), stops).make(clips))
    wanted = list(itertools.islice(made, first.start - first.first_instant))[:0]
    for segment in run:
        stops.add(segment.stop)
        wanted += itertools.islice(made, segment.stop - segment.start)
    return [(out.time, out.image.flatten().tolist()) for out in wanted]


@given(video=videos(), clip_rules=any_rules, lag=st.sampled_from((LAG, ALL)), data=st.data())
def test_a_segment_is_the_same_whichever_others_are_made_with_it(
    video: dict[str, Any], clip_rules: ClipRules, lag: int, data: st.DataObject
):
    lengths = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 20)))
    planned = plan(clip_rules=clip_rules, lengths=lengths, **video)
    rate = {name: video[name] for name in ("fps", "fps_x") if name in video}
    whole = make(planned, video["times"], clip_rules, lag, **rate)
    first = data.draw(st.integers(0, len(planned) - 1))
    run = planned[first : data.draw(st.integers(first + 1, len(planned)))]
    made = make(run, video["times"], clip_rules, lag, **rate)
    assert made == whole[run[0].start : run[-1].stop]


def test_a_segment_in_a_shot_that_reads_from_its_cut_on_counts_from_its_own_first_instant():
    clip_rules = rules(clip=1, overlap=0, context=1, max_moments=1)
    times, fps_x = even(4), Fraction(2)
    planned = plan(times, clip_rules, cuts=[0], lengths=(1, 1), fps_x=fps_x)
    assert [segment.first_keyframe for segment in planned[:4]] == [0] * 4
    whole = make(planned, times, clip_rules, fps_x=fps_x)
    for segment in planned:
        made = make([segment], times, clip_rules, fps_x=fps_x)
        assert made == whole[segment.start : segment.stop]


def clips(num_frames: int, *, cuts: Sequence[int] = ()) -> list[Clip]:
    """Of 4 keyframes and their new frames; neighbours share one keyframe and the new frame after it."""
    frames = [(frame(i, time), i in cuts) for i, time in enumerate(even(num_frames))]
    return list(
        make_clips(frames, Timeline(fps_x=Fraction(2)), rules(), lambda last: last.time + STEP)
    )


def made_by(model: Any, given: Sequence[Clip]) -> list[tuple[Clip, list[list[int]]]]:
    made = ClipMaker(model, OUT_SIZE, Stages(), set()).make(given)
    return [(clip, pictures.flatten(1).tolist()) for clip, pictures in made]


def alone(clip: Clip) -> list[list[int]]:
    ((_, pictures),) = made_by(RememberingModel(), [clip])
    return pictures


def test_the_clips_of_a_shot_make_what_the_shot_makes_at_once():
    given = clips(20)
    model = RememberingModel()
    made = made_by(model, given)
    assert [clip for clip, _ in made] == given
    assert len(model.shots) == 1
    whole = RememberedShot(RememberingModel())
    (first, *_), positions = given[0].frames, [(n // 2, n % 2 / 2) for n in range(39)]
    at_once = [*whole.feed(torch.from_numpy(first.image)[None], positions), *whole.finish()]
    expected = torch.cat(at_once).flatten(1).tolist()
    start = 0
    for clip, pictures in made:
        assert pictures == expected[start : start + len(clip.moments)]
        start += len(clip.moments) - clip.shared_after
    assert start == len(expected)


def test_every_shot_begins_anew():
    given = clips(20, cuts=[9])
    model = RememberingModel()
    made = made_by(model, given)
    assert len(model.shots) == 2
    later = [clip for clip in given if clip.frames[0].index >= 9]
    assert made_by(RememberingModel(), later) == made[-len(later) :]
    assert made[len(given) - len(later)][1] != alone(given[0])


def test_clips_are_made_as_soon_as_they_can_be():
    taken: list[Clip] = []

    def counted() -> Iterator[Clip]:
        for clip in clips(20):
            taken.append(clip)
            yield clip

    maker = ClipMaker(RememberingModel(), OUT_SIZE, Stages(), set())
    lead = [len(taken) - done for done, _ in enumerate(maker.make(counted()), start=1)]
    assert max(lead) == 1  # the pictures lag behind by less than a clip


def test_a_model_that_remembers_nothing_makes_each_clip_alone():
    given = clips(12)
    made = made_by(BilinearModel(), given)
    assert [clip for clip, _ in made] == given
    for clip, pictures in made:
        images = torch.from_numpy(np.stack([f.image for f in clip.frames])).permute(0, 3, 1, 2)
        expected = BilinearModel()(images, clip.positions, OUT_SIZE)
        assert pictures == expected.flatten(1).tolist()


def test_a_model_that_makes_too_few_pictures_is_found_out():
    class Forgetful(RememberedShot):
        def finish(self) -> list[Tensor]:
            return super().finish()[1:]

    class ForgetfulModel(RememberingModel):
        def begin_shot(self, *_: Any) -> RememberedShot:
            return Forgetful(self)

    with pytest.raises(RuntimeError, match="too few pictures: 1 are missing"):
        made_by(ForgetfulModel(), clips(12))


def test_a_shot_may_do_a_part_again_where_a_lower_rung_is_left():
    model, said = RememberingModel(), list[str]()
    rungs = [Rung(limits=Limits(tile=side), device_bytes=1) for side in (None, 512)]
    stepping_model = SteppingModel(model, run_plan(*rungs), said.append)
    stepping_model.begin_shot(OUT_SIZE)
    (attempt,) = model.attempts
    tries = itertools.count()

    def work() -> int:
        if (number := next(tries)) in (0, 2):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return number

    assert attempt.may_repeat()
    assert until_made(attempt, work) == 1
    assert said == [
        "memory ran out; what was at work is done again, and the rest: tiles of up to 512 pixels"
    ]
    assert not attempt.may_repeat()
    with pytest.raises(UserError, match="though as little as possible was done at once"):
        attempt(work)


def test_a_shot_does_nothing_again_on_a_cpu():
    model = RememberingModel()
    rungs = [Rung(limits=Limits(), device_bytes=size) for size in (2, 1)]
    SteppingModel(model, run_plan(*rungs, device="cpu"), pytest.fail).begin_shot(OUT_SIZE)
    assert not model.attempts[0].may_repeat()


def test_clips_in_parts_are_made_alone():
    rung = Rung(limits=Limits(), parts=2, device_bytes=1)
    model = RememberingModel()
    stepping_model = SteppingModel(model, run_plan(rung), lambda _: None)
    assert stepping_model.begin_shot(OUT_SIZE) is None
    assert model.shots == []
