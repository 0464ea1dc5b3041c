import itertools
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffst_cli.clips import Clip, ClipRules, make_clips
from diffst_cli.stitch import stitch
from diffst_cli.timing import Timeline

STEP = Fraction(1, 25)


@dataclass(frozen=True, eq=False)
class StubFrame:
    """What clips use of a frame."""

    index: int
    time: Fraction


def rules(
    clip: int = 4, overlap: int = 1, context: int = 2, max_moments: int = 1000, segment: int = 1000
) -> ClipRules:
    return ClipRules(
        clip_keyframes=clip,
        overlap_keyframes=overlap,
        context_keyframes=context,
        max_moments=max_moments,
        segment_keyframes=segment,
    )


def clips_of(
    times: Sequence[Fraction], clip_rules: ClipRules, *, cuts: Sequence[int] = (), **rate: Any
) -> list[Clip]:
    frames: Any = [(StubFrame(i, time), i in cuts) for i, time in enumerate(times)]
    return list(make_clips(frames, Timeline(**rate), clip_rules, lambda last: last.time + STEP))


def even(count: int) -> list[Fraction]:
    return [i * STEP for i in range(count)]


def keyframes(clip: Clip) -> list[int]:
    return [frame.index for frame in clip.frames]


def test_clips_overlap_and_see_context_on_both_sides():
    made = clips_of(even(8), rules(clip=4, overlap=1, context=2), fps_x=Fraction(1))
    assert [[moment.keyframe for moment in clip.moments] for clip in made] == [
        [0, 1, 2, 3],
        [3, 4, 5, 6],
        [6, 7],
    ]
    assert [keyframes(clip) for clip in made] == [[0, 1, 2, 3, 4, 5], [*range(1, 8)], [4, 5, 6, 7]]
    assert [(clip.shared_before, clip.shared_after) for clip in made] == [(0, 1), (1, 1), (1, 0)]


def test_new_frames_of_an_overlap_lie_between_the_same_keyframes_in_both_clips():
    first, second, *_ = clips_of(even(12), rules(clip=4, overlap=2), fps_x=Fraction(5, 2))
    shared = first.moments[-first.shared_after :]
    assert shared == second.moments[: second.shared_before]
    assert {moment.keyframe for moment in shared} == {2, 3}
    assert any(moment.alpha > 0 for moment in shared)


def test_clips_share_no_more_than_half_of_one():
    made = clips_of(even(8), rules(clip=4, overlap=4), fps_x=Fraction(1))
    assert [[moment.keyframe for moment in clip.moments] for clip in made] == [
        [0, 1, 2, 3],
        [2, 3, 4, 5],
        [4, 5, 6, 7],
    ]
    assert [(clip.shared_before, clip.shared_after) for clip in made] == [(0, 2), (2, 2), (2, 0)]


def test_positions_count_from_the_clips_own_first_frame():
    *_, last = clips_of(even(8), rules(clip=4, overlap=1, context=2), fps_x=Fraction(2))
    assert keyframes(last) == [4, 5, 6, 7]
    assert last.positions == [(2, 0.0), (2, 0.5), (3, 0.0)]
    assert last.moments[-1].times == (7 * STEP, 7 * STEP + STEP / 2)


def test_no_clip_holds_two_shots():
    made = clips_of(even(9), rules(clip=10, overlap=2), cuts=[3, 4], fps_x=Fraction(2))
    assert [keyframes(clip) for clip in made] == [[0, 1, 2], [3], [4, 5, 6, 7, 8]]
    assert all(clip.shared_before == clip.shared_after == 0 for clip in made)


def test_a_cut_on_the_first_frame_changes_nothing():
    (cut,) = clips_of(even(4), rules(), cuts=[0], fps_x=Fraction(2))
    (uncut,) = clips_of(even(4), rules(), fps_x=Fraction(2))
    assert (keyframes(cut), cut.moments) == (keyframes(uncut), uncut.moments)


def test_a_still_is_made_once_however_long_it_is_shown():
    (only,) = clips_of(even(1), rules(), fps=Fraction(100))
    assert only.positions == [(0, 0.0)]
    assert only.moments[0].times == tuple(Fraction(i, 100) for i in range(4))


def test_no_frames_make_no_clips():
    assert clips_of([], rules(), fps_x=Fraction(2)) == []


def test_many_new_frames_between_two_keyframes_are_spread_over_clips():
    made = clips_of([Fraction(0), Fraction(10)], rules(max_moments=20), fps=Fraction(10))
    assert max(len(clip.moments) for clip in made) == 20
    assert all(keyframes(clip) == [0, 1] for clip in made)


@pytest.mark.parametrize("fps", [Fraction(1, 4), Fraction(5), Fraction(60)])
def test_only_the_frames_of_one_clip_are_kept(fps: Fraction):
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most = 0

    def frames() -> Any:
        nonlocal most
        for i in range(300):
            frame = StubFrame(i, i * STEP)
            alive.add(frame)
            most = max(most, len(alive))
            yield frame, False

    made = make_clips(
        frames(), Timeline(fps=fps), rules(clip=8, context=2), lambda last: last.time + STEP
    )
    assert sum(1 for _ in made) >= 3
    assert most <= 2 * (2 + 8 + 2)  # the clip that is used, and the next one


def test_a_clip_comes_as_soon_as_its_context_is_there():
    taken: list[int] = []

    def frames() -> Any:
        for i in range(100):
            taken.append(i)
            yield StubFrame(i, i * STEP), False

    clips = make_clips(
        frames(),
        Timeline(fps_x=Fraction(2)),
        rules(clip=4, context=2),
        lambda last: last.time + STEP,
    )
    next(clips)
    assert max(taken) == 5


@pytest.mark.parametrize(
    "wrong", [{"clip": 0}, {"max_moments": 0}, {"overlap": -1}, {"context": -1}]
)
def test_rules_that_make_no_sense_are_refused(wrong: dict[str, int]):
    with pytest.raises(ValueError, match=r"clips of nothing|negative"):
        rules(**wrong)


@st.composite
def videos(draw: st.DrawFn) -> dict[str, Any]:
    """Any video: uneven frames, cuts, and a rate."""
    steps = draw(st.lists(st.integers(1, 12), min_size=0, max_size=40))
    times = [sum(steps[:i]) * Fraction(1, 100) for i in range(len(steps) + 1)]
    cuts = draw(st.sets(st.integers(0, len(steps)), max_size=6))
    rate = draw(
        st.one_of(
            st.fractions(1, 5, max_denominator=8).map(lambda x: {"fps_x": x}),
            st.fractions(Fraction(1, 2), 120, max_denominator=9).map(lambda x: {"fps": x}),
        )
    )
    return {"times": times, "cuts": cuts, **rate}


any_rules = st.builds(
    rules,
    clip=st.integers(1, 9),
    overlap=st.integers(0, 9),
    context=st.integers(0, 3),
    max_moments=st.integers(1, 30),
)


def expected_instants(times: Sequence[Fraction], cuts: set[int], **rate: Any) -> list[Any]:
    timeline = Timeline(**rate)
    instants = [
        instant
        for i, time in enumerate(times)
        for instant in timeline.add(time, starts_shot=i in cuts)
    ]
    return instants + timeline.finish(times[-1] + STEP)


@given(video=videos(), clip_rules=any_rules)
def test_each_instant_comes_once_in_order_within_its_shot(
    video: dict[str, Any], clip_rules: ClipRules
):
    made = clips_of(clip_rules=clip_rules, **video)
    owned = [
        (moment.keyframe, moment.alpha, time)
        for clip in made
        for moment in clip.moments[clip.shared_before :]
        for time in moment.times
    ]
    assert owned == [(i.keyframe, i.alpha, i.time) for i in expected_instants(**video)]
    for before, after in itertools.pairwise(made):
        assert (
            before.moments[len(before.moments) - before.shared_after :]
            == after.moments[: after.shared_before]
        )
    for clip in made:
        indices = keyframes(clip)
        assert indices == list(range(indices[0], indices[-1] + 1))
        assert not set(indices[1:]) & video["cuts"]
        assert len(clip.moments) <= clip_rules.max_moments
        for index, alpha in clip.positions:
            assert 0 <= index < len(indices)
            assert alpha == 0 or index + 1 < len(indices)


@given(video=videos(), clip_rules=any_rules)
def test_however_it_is_cut_the_stitched_video_is_the_same(
    video: dict[str, Any], clip_rules: ClipRules
):
    def identity(clip: Clip) -> torch.Tensor:
        """Pictures that tell where they were made, as 16-bit grey."""
        values = [int((m.keyframe + m.alpha) * 97) % 65536 for m in clip.moments]
        return (
            torch.tensor(values, dtype=torch.int32)
            .view(-1, 1, 1, 1)
            .expand(-1, 3, 1, 1)
            .to(torch.uint16)
        )

    def stitched(cut_rules: ClipRules) -> list[tuple[Fraction, int]]:
        made = clips_of(clip_rules=cut_rules, **video)
        frames = stitch((clip, identity(clip)) for clip in made)
        return [(frame.time, int(frame.image[0, 0, 0])) for frame in frames]

    whole = rules(clip=10_000, overlap=0, max_moments=10_000)
    assert stitched(clip_rules) == stitched(whole)
