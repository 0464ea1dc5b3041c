import re
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from diffst_cli.probe import probe
from diffst_cli.reader import read_frames
from diffst_cli.report.excerpts import Budget, Excerpt, as_jpeg, make_excerpt
from diffst_cli.report.moments import Moment, Span
from diffst_cli.report.sources import open_sources
from tests.media import make_video

WHOLE = Span(start=Fraction(0), stop=Fraction(4, 5), offset=Fraction(0))
PLENTY = Budget(video_bytes=10**7, bits_per_second=10**7, still_bytes=10**6)


def moments(*times: Fraction) -> list[Moment]:
    return [Moment(index=index, time=time, reason="") for index, time in enumerate(times)]


def excerpt(
    path: Path,
    folder: Path,
    *,
    spans: tuple[Span, ...] = (WHOLE,),
    at: tuple[Fraction, ...] = (Fraction(0),),
    size: tuple[int, int] = (64, 48),
    budget: Budget = PLENTY,
) -> Excerpt:
    (source,) = open_sources([path])
    done: list[int] = []
    made = make_excerpt(
        source,
        spans,
        moments(*at),
        size=size,
        budget=budget,
        work=folder,
        on_frame=lambda: done.append(1),
    )
    assert done
    return made


def times_of(video: bytes, folder: Path) -> list[Fraction]:
    path = folder / "played.mp4"
    path.write_bytes(video)
    return [frame.time for frame in read_frames(probe(path))]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """20 frames at 25 fps, which plays anywhere."""
    return make_video(tmp_path / "clip.mp4", num_frames=20, options=("-movflags", "+faststart"))


def test_a_file_that_plays_anywhere_is_taken_as_it_is(clip: Path, tmp_path: Path):
    made = excerpt(clip, tmp_path)
    assert made.is_copy
    assert made.video == clip.read_bytes()


def test_a_file_that_is_too_large_a_part_or_of_another_size_is_encoded(clip: Path, tmp_path: Path):
    small = Budget(video_bytes=clip.stat().st_size - 1, bits_per_second=10**6, still_bytes=10**6)
    part = Span(start=Fraction(1, 5), stop=Fraction(2, 5), offset=Fraction(0))
    assert not excerpt(clip, tmp_path, budget=small).is_copy
    assert not excerpt(clip, tmp_path, spans=(part,), at=(part.start,)).is_copy
    large = excerpt(clip, tmp_path, size=(128, 96))
    assert not large.is_copy
    assert len(times_of(large.video, tmp_path)) == 20
    info = probe(tmp_path / "played.mp4")
    assert (info.width, info.height, info.codec) == (128, 96, "h264")


def test_a_file_that_does_not_say_its_colour_is_encoded(tmp_path: Path):
    untagged = make_video(tmp_path / "untagged.mp4", num_frames=20, filters="null")
    assert not excerpt(untagged, tmp_path).is_copy


def test_spans_follow_each_other_each_frame_at_its_own_time(clip: Path, tmp_path: Path):
    spans = (
        Span(start=Fraction(4, 25), stop=Fraction(7, 25), offset=Fraction(0)),
        Span(start=Fraction(23, 50), stop=Fraction(14, 25), offset=Fraction(3, 25)),
    )
    made = excerpt(clip, tmp_path, spans=spans, at=(spans[0].start,))
    offsets = [round(float(time) * 1000) for time in times_of(made.video, tmp_path)]
    # The second begins in the middle of a frame, which is there from its beginning.
    assert offsets == [0, 40, 80, 120, 140, 180]


def test_stills_show_what_is_seen_at_each_moment(clip: Path, tmp_path: Path):
    at = (Fraction(0), Fraction(5, 25), Fraction(11, 50), Fraction(19, 25))
    made = excerpt(clip, tmp_path, at=at)
    frames = [frame.image for frame in read_frames(probe(clip))]
    assert len(made.stills) == len(at)
    for still, index in zip(made.stills, (0, 5, 5, 19), strict=True):
        picture = cv2.imdecode(np.frombuffer(still, np.uint8), cv2.IMREAD_COLOR_RGB)
        errors = [np.abs(picture.astype(int) - frame).mean() for frame in frames]
        assert int(np.argmin(errors)) == index
        assert min(errors) < 3


def test_stills_keep_their_colour_resolution_and_fit_where_they_can():
    noise = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    best = as_jpeg(noise, 10**9)
    assert re.search(rb"\xff\xc0.{7}\x03\x01\x11", best, re.DOTALL)  # luma sampled as chroma
    smaller = as_jpeg(noise, len(best) - 1)
    assert len(smaller) < len(best)
    assert len(as_jpeg(noise, 1)) <= len(smaller)


def test_bit_rate_is_limited(tmp_path: Path):
    busy = make_video(tmp_path / "busy.mkv", num_frames=50, filters="noise=alls=60:allf=t")
    span = Span(start=Fraction(0), stop=Fraction(2), offset=Fraction(0))
    tight = Budget(video_bytes=1, bits_per_second=100_000, still_bytes=10**6)
    free = Budget(video_bytes=1, bits_per_second=10**8, still_bytes=10**6)
    limited, unlimited = (
        len(excerpt(busy, tmp_path, spans=(span,), budget=budget).video) for budget in (tight, free)
    )
    assert limited < 40_000 < unlimited  # 2 s, and a full buffer of 1 s


def test_budget_shares_the_page():
    budget = Budget.of(30_000_000, num_videos=2, num_moments=6, seconds=Fraction(20))
    total = 2 * (budget.bits_per_second / 8 * 20 + 6 * budget.still_bytes) * 4 / 3
    assert total == pytest.approx(30_000_000, rel=1e-3)
    assert budget.video_bytes == budget.bits_per_second * 20 // 8
    tight = Budget.of(1_000_000, num_videos=2, num_moments=6, seconds=Fraction(600))
    assert tight.bits_per_second == 300_000
