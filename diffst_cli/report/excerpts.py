"""What the page carries of each video: a stretch that any browser plays, and stills of its moments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2

from diffst_cli.playable import PIXEL_FORMAT, Picture, eight_bits, fit, open_playable
from diffst_cli.report.moments import Moment, Span
from diffst_cli.report.sources import Source, timed_frames

CRF = 18
PRESET = "veryfast"
STILL_QUALITIES = (92, 82, 70, 50)  # of 100, JPEG without chroma subsampling; the first that fits
BASE64_GROWTH = Fraction(4, 3)  # bytes as text in a page
VIDEO_SHARE = Fraction(7, 10)  # of the page's size; the rest is for stills
MIN_BITS_PER_SECOND = 300_000


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """What a page holds of one video."""

    video: bytes
    """An MP4 file, without sound."""
    stills: tuple[bytes, ...]
    """A JPEG of each moment."""
    times: tuple[Fraction, ...]
    """When each of its frames begins in the player's own time, seconds."""
    is_copy: bool
    """Whether `video` is the file itself, not encoded again."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much of a page one video may take."""

    video_bytes: int
    bits_per_second: int
    """Of the video, if it is encoded."""
    still_bytes: int
    """Of each still."""

    @classmethod
    def of(cls, page_bytes: int, *, num_videos: int, num_moments: int, seconds: Fraction) -> Budget:
        """The share of one of `num_videos` videos that each play `seconds`."""
        share = page_bytes / BASE64_GROWTH / num_videos
        video = int(share * VIDEO_SHARE)
        return cls(
            video_bytes=video,
            bits_per_second=max(int(video * 8 / seconds), MIN_BITS_PER_SECOND),
            still_bytes=int(share * (1 - VIDEO_SHARE) / num_moments),
        )


def make_excerpt(
    source: Source,
    spans: Sequence[Span],
    moments: Sequence[Moment],
    *,
    size: tuple[int, int],
    budget: Budget,
    work: Path,
    on_frame: Callable[[], None],
) -> Excerpt:
    """Read the spans of one video once: encode them, and keep the moments' stills.

    Args:
        source: The video.
        spans: What is played, in order.
        moments: In order of time, each inside a span.
        size: Width and height, in pixels, even.
        budget: How large it may be.
        work: Folder for a temporary file.
        on_frame: Called after each frame.

    Raises:
        UserError: The video cannot be read, or ffmpeg cannot encode.
    """
    path = source.info.path
    is_copy = _plays_as_it_is(source, spans, size) and path.stat().st_size <= budget.video_bytes
    file = path if is_copy else work / "excerpt.mp4"
    stills = _Stills(source, moments, budget.still_bytes)
    times: list[Fraction] = []
    pipe = None
    if not is_copy:
        pipe = open_playable(
            file,
            size=size,
            frame_rate=source.info.frame_rate,
            constant_rate=False,  # each frame at its own time, whatever the other videos' rates are
            crf=CRF,
            preset=PRESET,
            max_bits_per_second=budget.bits_per_second,
        )
    try:
        for span in spans:
            is_first = True  # which is there from the span's beginning, whenever it began
            for frame in timed_frames(source, span.start, span.stop):
                picture = fit(eight_bits(frame.image), size)
                stills.see(frame.time, picture)
                times.append(span.offset + (0 if is_first else frame.time - span.start))
                is_first = False
                if pipe is not None:
                    pipe.write(picture, times[-1])
                on_frame()
        if pipe is not None:
            pipe.close()
    finally:
        if pipe is not None:
            pipe.stop()
    return Excerpt(
        video=file.read_bytes(), stills=stills.finish(), times=tuple(times), is_copy=is_copy
    )


def _plays_as_it_is(source: Source, spans: Sequence[Span], size: tuple[int, int]) -> bool:
    """Whether the file itself is what the page would make of it, but better."""
    info = source.info
    whole = len(spans) == 1 and spans[0].start == 0
    same_clock = info.origin_seconds == 0 and info.start_seconds == 0
    same_picture = (info.stored_width, info.stored_height) == size and info.sample_aspect == 1
    upright = info.rotation == 0 and not info.mirrored and info.interlaced == "progressive"
    plain = info.codec == "h264" and info.pixel_format == PIXEL_FORMAT
    says_colour = info.colour.matrix is not None  # what browsers guess differs
    in_mp4 = info.path.suffix.lower() in (".mp4", ".m4v") and not info.images
    return whole and same_clock and same_picture and upright and plain and says_colour and in_mp4


class _Stills:
    """Keeps what a video shows at each moment, while its frames go by."""

    def __init__(self, source: Source, moments: Sequence[Moment], max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._tolerance = source.tolerance
        self._moments = list(moments)
        self._stills: list[bytes] = []
        self._last: Picture | None = None

    def see(self, time: Fraction, picture: Picture) -> None:
        """The next frame begins at `time`, seconds: moments before it show the one before."""
        while self._moments and time > self._moments[0].time + self._tolerance:
            if self._last is None:
                break
            self._keep()
        self._last = picture

    def finish(self) -> tuple[bytes, ...]:
        """The stills; moments that are left show the last frame."""
        while self._moments:
            self._keep()
        return tuple(self._stills)

    def _keep(self) -> None:
        assert self._last is not None
        self._moments.pop(0)
        self._stills.append(as_jpeg(self._last, self._max_bytes))


def as_jpeg(picture: Picture, max_bytes: int) -> bytes:
    """The picture as a JPEG file of the best quality that takes `max_bytes`, or of the lowest."""
    swapped = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    full_chroma = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    for quality in STILL_QUALITIES:
        _, data = cv2.imencode(".jpg", swapped, [cv2.IMWRITE_JPEG_QUALITY, quality, *full_chroma])
        if data.nbytes <= max_bytes:
            break
    return bytes(data)
