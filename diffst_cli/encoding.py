"""How the video is encoded: codec, encoder and its arguments, pixel format, colour, pixel shape."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from diffst_cli.errors import UsageError, UserError
from diffst_cli.ffmpeg import ffmpeg_path
from diffst_cli.probe import Colour, VideoInfo, resolved_colour

X26X_PRESETS = (
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo",
)  # fmt: skip
SVT_PRESETS = tuple(str(number) for number in range(14))
NVENC_PRESETS = tuple(f"p{number}" for number in range(1, 8))
TRIAL_SIZE = "256x256"  # the smallest that every hardware encoder takes
TRIAL_SECONDS = 60.0

# FFmpeg's matrix name -> what the scale filter calls it. The others cannot be converted to.
SCALE_MATRICES = {
    "bt709": "bt709",
    "fcc": "fcc",
    "bt470bg": "bt470",
    "smpte170m": "smpte170m",
    "smpte240m": "smpte240m",
    "bt2020nc": "bt2020",
}
NEAREST_MATRIX = {"bt2020c": "bt2020nc", "ictcp": "bt2020nc"}  # anything else: bt709


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
    takes_odd_sides: bool = False
    """Whether odd widths and heights fit in spite of chroma subsampling."""
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
            preset="medium",
            presets=X26X_PRESETS,
        ),
        Codec(
            name="hevc",
            encoder="libx265",
            suffixes=(*ISO_SUFFIXES, ".mkv"),
            pixel_formats=YUV420,
            crf=16,
            preset="medium",
            presets=X26X_PRESETS,
            options=(("tag:v", "hvc1"), ("x265-params", "log-level=error")),
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
        ),
        Codec(
            name="prores",
            encoder="prores_ks",
            suffixes=(".mov", ".mkv"),
            pixel_formats=("yuv422p10le", "yuv422p10le", "yuv422p10le"),
            crf=None,
            options=(("profile:v", "3"), ("vendor", "apl0")),
            work_suffix=".mov",
        ),
        Codec(
            name="ffv1",
            encoder="ffv1",
            suffixes=(".mkv", ".mov", ".avi"),
            pixel_formats=("bgr0", "gbrp10le", "gbrp16le"),
            crf=None,
            options=(("level", "3"), ("g", "1"), ("slicecrc", "1")),
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
GIF = replace(CODECS["ffv1"], name="gif", suffixes=(".gif",), pixel_formats=("bgr0",) * 3)
PNG = Codec(
    name="png",
    encoder="png",
    suffixes=(".png",),
    pixel_formats=("rgb24", "rgb48be", "rgb48be"),
    crf=None,
    work_suffix="",
)
VIDEO_SUFFIXES = (*ISO_SUFFIXES, ".mkv", ".webm", ".avi", ".gif")
MAX_GIF_RATE = 50  # frames per second; players slow down anything faster


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """One way to encode, with every choice made."""

    codec: Codec
    pixel_format: str
    bit_depth: int
    size: tuple[int, int]
    """Width and height in the file; a pixel more than asked for where the codec needs even sides."""
    sample_aspect: Fraction
    colour: Colour
    """Tags of the file, which is what the pixels are converted to; None where unknown."""
    options: Mapping[str, str]
    """Encoder arguments, without the leading dash."""
    notes: tuple[str, ...]
    """What the user should know, one sentence each."""


def choose_encoding(
    info: VideoInfo,
    *,
    suffix: str,
    size: tuple[int, int],
    codec: str | None,
    crf: float | None,
    preset: str | None,
) -> Encoding:
    """The encoding for an output file.

    Args:
        info: The source, for its depth, colour and pixel shape.
        suffix: Of the output, lower case, with the dot; one of `VIDEO_SUFFIXES`.
        size: Width and height asked for, in pixels.
        codec: A name from `CODECS`, or None for the best choice.
        crf: Rate factor, lower is better; None for the codec's default.
        preset: The encoder's word for speed; None for the default.

    Raises:
        UsageError: An unknown codec, one the container cannot hold, or an option it does not have.
        UserError: The encoder does not work on this machine.
    """
    chosen, pixel_format = _choose_codec(suffix, codec, info.bit_depth)
    options = _encoder_options(chosen, suffix, crf, preset)
    coded, padding_note = _coded_size(chosen, size, pixel_format)
    aspect, aspect_note = _sample_aspect(info, size)
    is_gif_of_deep = chosen is GIF and info.bit_depth > 8
    depth_note = "a GIF holds 8 bits and 256 colours a frame" if is_gif_of_deep else None
    return Encoding(
        codec=chosen,
        pixel_format=pixel_format,
        bit_depth=_depth(pixel_format),
        size=coded,
        sample_aspect=aspect,
        colour=_output_colour(info, pixel_format),
        options=options,
        notes=tuple(note for note in (padding_note, aspect_note, depth_note) if note),
    )


def _choose_codec(suffix: str, name: str | None, bit_depth: int) -> tuple[Codec, str]:
    """The codec and its pixel format, both proven to work here."""
    named = () if name is None else (_named_codec(name, suffix),)
    candidates = named or _default_codecs(suffix, bit_depth)
    for codec in candidates:
        pixel_format = codec.pixel_formats[0 if bit_depth <= 8 else 1 if bit_depth <= 10 else 2]
        if encoder_works(codec.encoder, pixel_format):
            return codec, pixel_format
    tried = " or ".join(f"`{codec.encoder}`" for codec in candidates)
    raise UserError(
        f"ffmpeg cannot encode with {tried} on this machine",
        hint=f"`{ffmpeg_path()}` was asked; give another --codec",
    )


def _default_codecs(suffix: str, bit_depth: int) -> tuple[Codec, ...]:
    for codec in (GIF, PNG):
        if suffix in codec.suffixes:
            return (codec,)
    if suffix == ".webm":
        return (CODECS["vp9"], CODECS["av1"])
    if suffix == ".avi" or bit_depth <= 8:
        return (CODECS["h264"],)
    return (CODECS["hevc"], CODECS["h264"])


def _named_codec(name: str, suffix: str) -> Codec:
    if name not in CODECS:
        raise UsageError(f"unknown codec `{name}`", hint=f"one of: {', '.join(CODECS)}")
    codec = CODECS[name]
    if suffix not in codec.suffixes:
        raise UsageError(
            f"a `{suffix}` file cannot hold `{name}` video",
            hint=f"name the output {' or '.join(codec.suffixes)}, or give another --codec",
        )
    return codec


def _encoder_options(
    codec: Codec, suffix: str, crf: float | None, preset: str | None
) -> dict[str, str]:
    options = {"c:v": codec.encoder, **dict(codec.options)}
    if crf is not None and codec.crf is None:
        raise UsageError(f"`{codec.name}` has no rate factor", hint="leave out --crf")
    if crf is not None and not 0 <= crf <= codec.max_crf:
        raise UsageError(f"--crf must be from 0 to {codec.max_crf} for `{codec.name}`, not {crf:g}")
    if preset is not None and preset not in codec.presets:
        known = f"one of: {', '.join(codec.presets)}" if codec.presets else "leave out --preset"
        raise UsageError(f"`{codec.name}` has no preset `{preset}`", hint=known)
    if codec.crf is not None:
        options[codec.crf_option] = f"{codec.crf if crf is None else crf:g}"
    if codec.preset is not None:
        options["preset"] = preset or codec.preset
    if suffix == ".avi":
        options["bf"] = "0"  # AVI has no presentation times, so frames must be stored as shown
    if suffix == ".mkv":
        options.pop("tag:v", None)
    return options


def _coded_size(
    codec: Codec, size: tuple[int, int], pixel_format: str
) -> tuple[tuple[int, int], str | None]:
    """`size`, one pixel more where chroma subsampling needs an even side, and a note if so."""
    is_420 = "420" in pixel_format or pixel_format == "p010le"
    width, height = size
    if not codec.takes_odd_sides:
        width += width % 2 if is_420 or "422" in pixel_format else 0
        height += height % 2 if is_420 else 0
    if (width, height) == size:
        return size, None
    note = f"{size[0]}x{size[1]} padded to {width}x{height}: the codec needs even sides"
    return (width, height), note


def _sample_aspect(info: VideoInfo, size: tuple[int, int]) -> tuple[Fraction, str | None]:
    """The source's pixel shape, or the one that keeps the picture's shape if `size` changes it."""
    aspect = info.sample_aspect
    drift = abs(Fraction(info.height * size[0], info.width) - size[1])
    rounding_only = drift <= Fraction(1, 2) + Fraction(info.height, 2 * info.width)
    if rounding_only:
        return aspect, None
    kept = aspect * Fraction(info.width, info.height) / Fraction(size[0], size[1])
    kept = kept.limit_denominator(10_000)
    if kept == aspect:
        return aspect, None
    return (
        kept,
        f"pixels are {kept.numerator}:{kept.denominator} wide, so the picture keeps its shape",
    )


def _output_colour(info: VideoInfo, pixel_format: str) -> Colour:
    colour = resolved_colour(info)
    if pixel_format.startswith(("bgr", "gbr", "rgb")):
        return replace(colour, matrix="gbr", range="pc", chroma_location=None)
    if colour.matrix == "gbr":
        return replace(colour, matrix="bt709", range="tv", chroma_location="left")
    matrix = colour.matrix or "bt709"
    if matrix not in SCALE_MATRICES:
        matrix = NEAREST_MATRIX.get(matrix, "bt709")
    return replace(colour, matrix=matrix)


def _depth(pixel_format: str) -> int:
    if "48" in pixel_format or "16" in pixel_format:
        return 16
    return 10 if "10" in pixel_format else 8


@functools.cache
def encoder_works(encoder: str, pixel_format: str) -> bool:
    """Whether the ffmpeg in use can encode one frame; a listed encoder may lack its hardware."""
    source = f"color=size={TRIAL_SIZE}:duration=1:rate=1,format={pixel_format}"
    command = [str(ffmpeg_path()), "-nostdin", "-loglevel", "quiet", "-f", "lavfi", "-i", source]
    command += ["-frames:v", "1", "-c:v", encoder, "-f", "null", "-"]
    try:
        answer = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TRIAL_SECONDS
        )
    except subprocess.TimeoutExpired:
        return False
    return answer.returncode == 0
