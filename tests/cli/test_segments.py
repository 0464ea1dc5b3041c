import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffst_cli import segments
from diffst_cli.clips import Clip, ClipRules, make_clips
from diffst_cli.reader import Frame
from diffst_cli.segments import KeyframeDigests, Segment, plan_segments
from diffst_cli.stitch import stitch
from diffst_cli.timing import Timeline
from tests.cli.test_clips import STEP, any_rules, even, rules, videos


def frame(index: int, time: Fraction) -> Frame:
    return Frame(image=np.full((1, 1, 3), index % 251, np.uint8), time=time, index=index)


def plan(
    times: Sequence[Fraction],
    clip_rules: ClipRules,
    *,
    cuts: Sequence[int] = (),
    lengths: tuple[int, int] = (4, 8),
    **rate: Any,
) -> list[Segment]:
    frames = [(frame(i, time), i in cuts) for i, time in enumerate(times)]
    with (
        patch.object(segments, "MIN_KEYFRAMES", lengths[0]),
        patch.object(segments, "MAX_KEYFRAMES", lengths[1]),
    ):
        timeline = Timeline(**rate)
        return list(plan_segments(frames, timeline, clip_rules, lambda last: last.time + STEP))


def pictures(clip: Clip) -> torch.Tensor:
    """Pictures that depend on the clip, not on the moment alone, so that fades can be told."""
    offset = clip.frames[0].index * 13
    values = [int((m.keyframe + m.alpha) * 97 + offset) % 65536 for m in clip.moments]
    shape = torch.tensor(values, dtype=torch.int32).view(-1, 1, 1, 1)
    return shape.expand(-1, 3, 1, 1).to(torch.uint16)


def make(
    run: Sequence[Segment], times: Sequence[Fraction], clip_rules: ClipRules, **rate: Any
) -> list[tuple[Fraction, int]]:
    """Output of consecutive segments, from nothing but them and the keyframes they read."""
    first, last = run[0], run[-1]
    cuts = {cut for segment in run for cut in segment.cuts}
    indices = range(first.first_keyframe, last.stop_keyframe)
    clips = make_clips(
        ((frame(i, times[i]), i in cuts) for i in indices),
        Timeline(**rate, state=first.timeline),
        clip_rules,
        lambda _: last.end if last.end is not None else pytest.fail("read past the segment"),
        first_instant=first.first_instant,
        shared=first.shared,
    )
    made = stitch((clip, pictures(clip)) for clip in clips)
    wanted = itertools.islice(
        made, first.start - first.first_instant, last.stop - first.first_instant
    )
    return [(out.time, int(out.image[0, 0, 0])) for out in wanted]


@given(video=videos(), clip_rules=any_rules, data=st.data())
def test_any_run_of_segments_is_that_part_of_the_whole(
    video: dict[str, Any], clip_rules: ClipRules, data: st.DataObject
):
    lengths = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 20)))
    planned = plan(clip_rules=clip_rules, lengths=lengths, **video)
    rate = {name: video[name] for name in ("fps", "fps_x") if name in video}
    (whole,) = plan(clip_rules=clip_rules, lengths=(10_000, 10_000), **video)
    expected = make([whole], video["times"], clip_rules, **rate)
    assert [segment.index for segment in planned] == list(range(len(planned)))
    assert planned[0].start == 0
    assert all(a.stop == b.start for a, b in itertools.pairwise(planned))
    assert planned[-1].stop == len(expected)
    first = data.draw(st.integers(0, len(planned) - 1))
    run = planned[first : data.draw(st.integers(first + 1, len(planned)))]
    made = make(run, video["times"], clip_rules, **rate)
    assert made == expected[run[0].start : run[-1].stop]


def test_segments_end_at_cuts_where_there_are_any():
    planned = plan(even(30), rules(clip=4), cuts=[0, 3, 10, 25], fps_x=Fraction(2))
    # At a cut the moment halfway to the new shot already shows it.
    assert [segment.start for segment in planned] == [0, 2 * 10 - 1, 2 * 19, 2 * 25 - 1]
    assert [segment.cuts for segment in planned] == [(0, 3, 10), (10,), (25,), (25,)]


def test_a_segment_of_exactly_the_least_length_ends_at_a_cut():
    planned = plan(
        even(30), rules(clip=4, overlap=0), cuts=[0, 4], lengths=(4, 100), fps_x=Fraction(1)
    )
    assert [segment.start for segment in planned] == [0, 4]


def test_a_segment_of_exactly_the_most_length_ends():
    planned = plan(even(30), rules(clip=4, overlap=0), lengths=(4, 8), fps_x=Fraction(1))
    assert [segment.start for segment in planned] == [0, 8, 16, 24]


def test_segments_are_as_short_as_the_rules_say_cut_or_not():
    short = rules(clip=4, overlap=0, segment=6)
    planned = plan(even(30), short, cuts=[0, 13], lengths=(9, 100), fps_x=Fraction(1))
    # Clips begin at 0, 4, 8, 12, and anew at the cut; the cut ends no segment of fewer than 6 keyframes.
    assert [segment.start for segment in planned] == [0, 8, 17, 25]


def test_a_segment_that_begins_in_a_shot_makes_the_clip_before_its_own():
    first, second = plan(even(16), rules(clip=4, overlap=1, context=2), fps_x=Fraction(1))[:2]
    assert (first.start, first.stop, first.first_keyframe, first.shared) == (0, 9, 0, 0)
    # Clips begin at keyframes 0, 3, 6, 9; the second segment fades from that of 6, seen from 4 on.
    assert (second.start, second.first_instant, second.first_keyframe) == (9, 6, 4)
    assert second.shared == 1


def test_only_what_the_end_decides_knows_the_end():
    *others, last = plan(even(40), rules(clip=4), fps_x=Fraction(1))
    assert last.end == even(41)[-1]
    assert others[0].end is None


def test_the_output_of_every_segment_begins_with_the_first_frame():
    times = [Fraction(7, 5) + time for time in even(40)]
    planned = plan(times, rules(clip=4), cuts=[0, 11], fps_x=Fraction(2))
    assert len(planned) > 3
    assert {segment.origin for segment in planned} == {Fraction(7, 5)}


def test_no_frames_make_no_plan():
    assert plan([], rules(), fps_x=Fraction(2)) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: replace(frame, time=frame.time + Fraction(1, 90_000)),
        lambda frame: replace(frame, image=frame.image + 1),
    ],
)
def test_a_digest_tells_another_time_or_picture(change: Any):
    def digest(frames: Iterator[Frame]) -> str:
        digests = KeyframeDigests()
        for each in frames:
            digests.add(each)
        return digests.digest(1, 4)

    frames = [frame(i, i * STEP) for i in range(5)]
    changed = [change(each) if each.index == 3 else each for each in frames]
    outside = [change(each) if each.index == 4 else each for each in frames]
    assert digest(iter(frames)) == digest(iter(outside)) != digest(iter(changed))
