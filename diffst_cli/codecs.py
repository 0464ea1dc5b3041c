"""The codecs `--codec` offers: which files hold each, and how its encoder is told what is wanted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

X26X_PRESETS = (
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo",
)  # fmt: skip
SVT_PRESETS = tuple(str(number) for number in range(14))
NVENC_PRESETS = tuple(f"p{number}" for number in range(1, 8))


@dataclass(frozen=True, kw_only=True)
class Codec:
    """One value of `--codec`: which files hold it, and how its encoder is told what is wanted."""

    name: str
    encoder: str
    """FFmpeg's encoder name."""
    suffixes: tuple[str, ...]
    """Files that can hold it, with the dot."""
    pixel_formats: tuple[str, str, str]
    """For 8-bit, 10-bit and deeper sources."""
    crf: int | None
    """Default rate factor; None when the codec has none."""
    max_crf: int = 51
    crf_option: str = "crf"
    preset: str | None = None
    """Default preset; None when the encoder has none."""
    presets: tuple[str, ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    """Further encoder arguments, without the leading dash."""
    least_side: int = 1
    """Pixels, either way, below which its encoder refuses to start or fails."""
    max_rate: int | None = None
    """Frames a second above which its encoder refuses to start; None where it takes all that diffst makes."""
    takes_odd_sides: bool = False
    """Whether odd widths and heights fit in spite of chroma subsampling."""
    holds_range: bool = True
    """Whether it can say that Y'CbCr is of full range, and where chroma lies; else it is limited, and left."""
    lost_primaries: tuple[str, ...] = ()
    """Those that its encoder cannot name, or refuses."""
    pairs_tags: bool = False
    """Whether primaries are lost without a transfer, and the other way round."""
    work_suffix: str = ".mp4"
    """Of the video before it is joined by the other streams: a container with exact timestamps."""


YUV420 = ("yuv420p", "yuv420p10le", "yuv420p10le")
NVENC420 = ("yuv420p", "p010le", "p010le")
ISO_SUFFIXES = (".mp4", ".m4v", ".mov")
CODECS = {
    codec.name: codec
    for codec in (
        Codec(
            name="h264",
            encoder="libx264",
            suffixes=(*ISO_SUFFIXES, ".mkv", ".avi"),
            pixel_formats=YUV420,
            crf=16,
            # Half the time of `medium`, which on a laptop is time the model lacks. At this rate factor it
            # costs next to nothing: SSIM 0.994 instead of 0.996 to what goes in, and no more bytes.
            preset="veryfast",
            presets=X26X_PRESETS,
            options=(
                ("threads", "8"),
            ),  # by itself as many as suit the cores, and they are seen in the bits
            lost_primaries=("ebu3213",),
        ),
        Codec(
            name="hevc",
            encoder="libx265",
            suffixes=(*ISO_SUFFIXES, ".mkv"),
            pixel_formats=YUV420,
            crf=16,
            preset="medium",
            presets=X26X_PRESETS,
            options=(("tag:v", "hvc1"), ("x265-params", "log-level=error:frame-threads=3")),
            lost_primaries=("ebu3213",),
            least_side=16,
        ),
        Codec(
            name="vp9",
            encoder="libvpx-vp9",
            suffixes=(".webm", ".mkv", ".mp4"),
            pixel_formats=YUV420,
            crf=20,
            max_crf=63,
            options=(
                ("b:v", "0"),
                ("deadline", "good"),
                ("cpu-used", "3"),
                ("row-mt", "1"),
                ("tile-columns", "2"),
            ),
            takes_odd_sides=True,
        ),
        Codec(
            name="av1",
            encoder="libsvtav1",
            suffixes=(".webm", ".mkv", ".mp4"),
            pixel_formats=YUV420,
            crf=20,
            max_crf=63,
            preset="6",
            presets=SVT_PRESETS,
            # ffmpeg gives up where a frame takes more than 8 raw ones, as of noise at 8x10; at 2x4 SVT-AV1 aborts.
            least_side=16,
            max_rate=240,
        ),
        Codec(
            name="prores",
            encoder="prores_ks",
            suffixes=(".mov", ".mkv"),
            pixel_formats=("yuv422p10le", "yuv422p10le", "yuv422p10le"),
            crf=None,
            options=(("profile:v", "3"), ("vendor", "apl0")),
            holds_range=False,
            work_suffix=".mov",
        ),
        Codec(
            name="ffv1",
            encoder="ffv1",
            suffixes=(".mkv", ".mov"),
            pixel_formats=("bgr0", "gbrp10le", "gbrp16le"),
            crf=None,
            options=(("level", "3"), ("g", "1"), ("slicecrc", "1")),
            pairs_tags=True,  # its own stream says nothing, and MOV has one place for both
            work_suffix=".mov",
        ),
        *(
            Codec(
                name=f"{name}_nvenc",
                encoder=f"{name}_nvenc",
                suffixes=suffixes,
                pixel_formats=NVENC420,
                crf=19,
                crf_option="cq",
                preset="p5",
                presets=NVENC_PRESETS,
                options=(("rc", "vbr"), ("b:v", "0"), *extra),
            )
            for name, suffixes, extra in (
                ("h264", (*ISO_SUFFIXES, ".mkv"), ()),
                ("hevc", (*ISO_SUFFIXES, ".mkv"), (("tag:v", "hvc1"),)),
                ("av1", (".webm", ".mkv", ".mp4"), ()),
            )
        ),
    )
}
# GIF frames are kept without loss until all are known: the palette is made from every one of them.
GIF = replace(
    CODECS["ffv1"],
    name="gif",
    suffixes=(".gif",),
    pixel_formats=("bgr0",) * 3,
    pairs_tags=False,  # it has no place for either
)
PNG = Codec(
    name="png",
    encoder="png",
    suffixes=(".png",),
    pixel_formats=("rgb24", "rgb48be", "rgb48be"),
    crf=None,
    work_suffix="",
)
VIDEO_SUFFIXES = (*ISO_SUFFIXES, ".mkv", ".webm", ".avi", ".gif")
# Of a pixel: a GIF has a byte for it, whose 1 is 16/64 and whose 255 is 270/64; ffmpeg rounds down.
GIF_ASPECTS = (Fraction(16, 64), Fraction(271, 64))
MAX_GIF_RATE = 50  # frames per second; players slow down anything faster
