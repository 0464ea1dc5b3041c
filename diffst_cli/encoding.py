"""How one output is encoded: codec, encoder arguments, pixel format, colour, pixel shape."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from diffst_cli.codecs import CODECS, GIF, GIF_ASPECTS, PNG, Codec
from diffst_cli.colour import HDR_TRANSFERS, SCALE_MATRICES
from diffst_cli.errors import UsageError, UserError
from diffst_cli.ffmpeg import ffmpeg_path
from diffst_cli.hdr import StaticData, read_static, svt_parameters, x265_parameters
from diffst_cli.probe import LARGEST_ASPECT, Colour, VideoInfo, resolved_colour

TRIAL_SIZE = "256x256"  # the smallest that every hardware encoder takes
TRIAL_SECONDS = 60.0

# Matrices that are converted with another's numbers, or that not every codec can name.
REPLACED_MATRICES = {"fcc": "smpte170m", "bt2020c": "bt2020nc", "gbr": "bt709"}


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
        UsageError: An unknown codec, one the container cannot hold, an option it does not have, or too small a size.
        UserError: The encoder does not work on this machine.
    """
    chosen, pixel_format = _choose_codec(suffix, codec, info.bit_depth, size)
    options = _encoder_options(chosen, suffix, crf, preset)
    options, hdr_note = _with_hdr10(chosen, options, read_static(info))
    coded, padding_note = _coded_size(chosen, size, pixel_format)
    aspect, aspect_note = _sample_aspect(info, size, chosen)
    colour, colour_note = _kept_tags(chosen, _output_colour(info, chosen, pixel_format))
    return Encoding(
        codec=chosen,
        pixel_format=pixel_format,
        bit_depth=_depth(pixel_format),
        size=coded,
        sample_aspect=aspect,
        colour=colour,
        options=options,
        notes=tuple(
            note
            for note in (
                *(padding_note, aspect_note, colour_note, hdr_note),
                *_loss_notes(info, chosen),
            )
            if note
        ),
    )


def _with_hdr10(
    codec: Codec, options: Mapping[str, str], data: StaticData
) -> tuple[dict[str, str], str | None]:
    """Encoder arguments with HDR10's static data, or a note that the encoder has no place for it."""
    if not data.display and data.light is None:
        return dict(options), None
    if codec.encoder == "libx265":
        parameters = ":".join((options["x265-params"], *x265_parameters(data)))
        return {**options, "x265-params": parameters}, None
    if codec.encoder == "libsvtav1":
        return {**options, "svtav1-params": ":".join(svt_parameters(data))}, None
    note = "HDR10's data of display and brightest pixels left out: of `--codec`, `hevc` and `av1` keep it"
    return dict(options), note


def _loss_notes(info: VideoInfo, codec: Codec) -> Iterator[str]:
    """What of the source no setting could keep."""
    if codec is GIF and info.bit_depth > 8:
        yield "a GIF holds 8 bits and 256 colours a frame"
    if codec is GIF and info.colour.transfer in HDR_TRANSFERS:
        yield "a GIF cannot say that its brightness is PQ or HLG: its picture looks flat and pale"
    if info.hides_alpha:
        yield "what is transparent becomes opaque: diffst writes no transparency"
    yield from info.unkept
    if info.interlaced != "progressive":
        yield "the input is interlaced: each frame's two fields become one picture"


def _choose_codec(
    suffix: str, name: str | None, bit_depth: int, size: tuple[int, int]
) -> tuple[Codec, str]:
    """The codec and its pixel format, both proven to work here."""
    # One pixel more where a side is odd, as it will be padded.
    shortest = min(side + side % 2 for side in size)
    named = () if name is None else (_named_codec(name, suffix, shortest),)
    fitting = [
        codec for codec in _default_codecs(suffix, bit_depth) if shortest >= codec.least_side
    ]
    candidates = named or fitting
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


def _named_codec(name: str, suffix: str, shortest: int) -> Codec:
    if name not in CODECS:
        raise UsageError(f"unknown codec `{name}`", hint=f"one of: {', '.join(CODECS)}")
    codec = CODECS[name]
    if suffix not in codec.suffixes:
        raise UsageError(
            f"a `{suffix}` file cannot hold `{name}` video",
            hint=f"{' or '.join(codec.suffixes)} can; or give another `--codec`",
        )
    if shortest < codec.least_side:
        others = [
            f"`{other.name}`"
            for other in CODECS.values()
            if suffix in other.suffixes and shortest >= other.least_side
            if not other.name.endswith("_nvenc")  # which need the hardware
        ]
        raise UsageError(
            f"`{name}` takes no picture with a side under {codec.least_side} pixels",
            hint=f"give `--codec` {' or '.join(others)}, or a larger size",
        )
    return codec


def _encoder_options(
    codec: Codec, suffix: str, crf: float | None, preset: str | None
) -> dict[str, str]:
    options = {"c:v": codec.encoder, **dict(codec.options)}
    if crf is not None and codec.crf is None:
        raise UsageError(f"`{codec.name}` has no rate factor", hint="leave out `--crf`")
    if crf is not None and not 0 <= crf <= codec.max_crf:
        raise UsageError(f"`--crf` is `{crf:g}`; `{codec.name}` takes 0 to {codec.max_crf}")
    if preset is not None and preset not in codec.presets:
        known = f"one of: {', '.join(codec.presets)}" if codec.presets else "leave out `--preset`"
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


def _sample_aspect(
    info: VideoInfo, size: tuple[int, int], codec: Codec
) -> tuple[Fraction, str | None]:
    """The pixel shape that keeps the picture's shape, as far as the codec can hold it, and a note if so."""
    aspect, note = _kept_shape(info, size)
    if codec is not GIF or aspect == 1 or GIF_ASPECTS[0] <= aspect < GIF_ASPECTS[1]:
        return aspect, note
    return (
        Fraction(1),
        f"a GIF cannot hold pixels of {aspect.numerator}:{aspect.denominator}, only up to 4:1 "
        "either way: they become square, and the picture changes its shape",
    )


def _kept_shape(info: VideoInfo, size: tuple[int, int]) -> tuple[Fraction, str | None]:
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
    if not Fraction(1, LARGEST_ASPECT) <= kept <= LARGEST_ASPECT:
        return Fraction(1), "the size asked for squeezes the picture more than a player can undo"
    return (
        kept,
        f"pixels become {_shape_words(kept)}, so the picture keeps its shape",
    )


def _shape_words(aspect: Fraction) -> str:
    return "square" if aspect == 1 else f"{aspect.numerator}:{aspect.denominator} wide"


def _output_colour(info: VideoInfo, codec: Codec, pixel_format: str) -> Colour:
    colour = resolved_colour(info)
    if not codec.holds_range:
        colour = replace(colour, range="tv", chroma_location="left")
    if pixel_format.startswith(("bgr", "gbr", "rgb")):
        return replace(colour, matrix="gbr", range="pc", chroma_location=None)
    if colour.matrix == "gbr":
        colour = replace(colour, range="tv", chroma_location="left")
    matrix = REPLACED_MATRICES.get(str(colour.matrix), colour.matrix)
    if matrix not in SCALE_MATRICES:  # which the reader refuses, with a better message
        matrix = "bt709"
    return replace(colour, matrix=matrix)


def _kept_tags(codec: Codec, colour: Colour) -> tuple[Colour, str | None]:
    """What the codec can say of `colour`, and a note if that is less."""
    if colour.primaries in codec.lost_primaries:
        note = f"`{codec.name}` cannot say that the primaries are {colour.primaries}: left out"
        return replace(colour, primaries=None), note
    if codec.pairs_tags and (colour.primaries is None) != (colour.transfer is None):
        known = colour.primaries or colour.transfer
        note = f"`{codec.name}` cannot name primaries or transfer alone: {known} left out"
        return replace(colour, primaries=None, transfer=None), note
    return colour, None


def _depth(pixel_format: str) -> int:
    if "48" in pixel_format or "16" in pixel_format:
        return 16
    return 10 if "10" in pixel_format else 8


@functools.cache
def encoder_works(encoder: str, pixel_format: str) -> bool:
    """Whether the ffmpeg in use can encode one frame; a listed encoder may lack its hardware."""
    source = f"color=size={TRIAL_SIZE}:duration=1:rate=1,format={pixel_format}"
    command = [str(ffmpeg_path()), "-nostdin", "-loglevel", "quiet", "-f", "lavfi", "-i", source]
    exactly = ["-pix_fmt", f"+{pixel_format}"]  # the plus forbids another format instead
    command += ["-frames:v", "1", "-c:v", encoder, *exactly, "-f", "null", "-"]
    try:
        answer = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TRIAL_SECONDS
        )
    except subprocess.TimeoutExpired:
        return False
    return answer.returncode == 0


@functools.cache
def has_filter(name: str, executable: Path | None = None) -> bool:
    """Whether an ffmpeg, the one in use where none is named, was built with the filter `name`."""
    command = [
        str(executable or ffmpeg_path()),
        "-nostdin",
        "-hide_banner",
        "-loglevel",
        "quiet",
        "-filters",
    ]
    answer = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return any(line.split()[1:2] == [name] for line in answer.stdout.splitlines())
