"""FFmpeg's names for its colour numbers (ITU-T H.273 code points), and the colour a file leaves unsaid."""

from __future__ import annotations

from dataclasses import dataclass, replace

HD_HEIGHT = 720  # stored lines; from here on an untagged video is taken as BT.709, as players do

MATRICES = {
    0: "gbr",
    1: "bt709",
    4: "fcc",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "ycgco",
    9: "bt2020nc",
    10: "bt2020c",
    11: "smpte2085",
    12: "chroma-derived-nc",
    13: "chroma-derived-c",
    14: "ictcp",
}
RANGES = {1: "tv", 2: "pc"}
PRIMARIES = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "film",
    9: "bt2020",
    10: "smpte428",
    11: "smpte431",
    12: "smpte432",
    22: "ebu3213",
}
TRANSFERS = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "linear",
    9: "log100",
    10: "log316",
    11: "iec61966-2-4",
    12: "bt1361e",
    13: "iec61966-2-1",
    14: "bt2020-10",
    15: "bt2020-12",
    16: "smpte2084",
    17: "smpte428",
    18: "arib-std-b67",
}

HDR_TRANSFERS = ("smpte2084", "arib-std-b67")  # PQ and HLG
SCALE_MATRICES = {  # FFmpeg's matrix names to those of its scale filter, in every version
    "bt709": "bt709",
    "fcc": "fcc",
    "bt470bg": "bt601",
    "smpte170m": "bt601",
    "smpte240m": "smpte240m",
    "bt2020nc": "bt2020",
    "bt2020c": "bt2020",  # not constant-luminance math, but what every player does too
}
# Horizontal and vertical chroma position in 1/256 of a luma sample, as the scale filter counts, where a chroma sample
# stands for two luma samples either way. Where it stands for four, see `chroma_position`.
CHROMA_POSITIONS = {
    "left": (0, 128),
    "center": (128, 128),
    "topleft": (0, 0),
    "top": (128, 0),
    "bottomleft": (0, 256),
    "bottom": (128, 256),
}


@dataclass(frozen=True, kw_only=True)
class Colour:
    """How code values mean colours, in FFmpeg's names; None where the file does not say."""

    matrix: str | None
    """Y'CbCr to R'G'B' matrix, `gbr` for RGB."""
    range: str | None
    """`tv` (limited) or `pc` (full)."""
    primaries: str | None
    transfer: str | None
    chroma_location: str | None
    """Where a chroma sample lies between luma samples: `left`, `center`, `topleft` ..."""


def is_grey(pixel_format: str) -> bool:
    """Whether a format, in FFmpeg's name, holds luma alone, or luma and alpha, in levels."""
    return pixel_format.startswith(("gray", "ya"))


def is_limited_grey(pixel_format: str, colour: Colour) -> bool:
    """Whether luma alone is of limited range, which the scale filter takes for full whatever it is told."""
    return is_grey(pixel_format) and colour.range == "tv"


def chroma_position(location: str, across: int, down: int) -> tuple[int, int]:
    """Horizontal and vertical chroma position in 1/256 of a luma sample, as the scale filter counts.

    Args:
        location: One of `CHROMA_POSITIONS`.
        across: Luma samples for which a chroma sample stands, horizontally: 1, 2 or 4.
        down: The same, vertically.
    """
    right, below = CHROMA_POSITIONS[location]
    return right * (across - 1), below * (down - 1)


def colour_from_numbers(matrix: int, range_: int, primaries: int, transfer: int) -> Colour:
    """The named colour for FFmpeg's numbers; an unknown or reserved number is None.

    The chroma location stays None: PyAV does not tell it.
    """
    return Colour(
        matrix=MATRICES.get(matrix),
        range=RANGES.get(range_),
        primaries=PRIMARIES.get(primaries),
        transfer=TRANSFERS.get(transfer),
        chroma_location=None,
    )


def fill_in(colour: Colour, *, pixel_format: str, is_rgb: bool, height: int) -> Colour:
    """`colour` with matrix, range and chroma location stated, guessed where the file is silent.

    RGB is always `gbr` and `pc`. Primaries and transfer stay as they are: nothing here converts
    them, so an unknown one must not be written as if it were known.

    Args:
        colour: What the file says.
        pixel_format: FFmpeg's name; `yuvj` formats are full range, and grey ones unless tagged.
        is_rgb: Whether the pixel format holds R'G'B' (or a palette of it).
        height: Stored lines.
    """
    if is_rgb:
        return replace(colour, matrix="gbr", range="pc", chroma_location=None)
    is_jpeg = pixel_format.startswith("yuvj")
    is_full_range = is_jpeg or (colour.range is None and is_grey(pixel_format))
    matrix = colour.matrix if colour.matrix not in (None, "gbr") else None
    if matrix is None:
        matrix = "bt709" if height >= HD_HEIGHT and not is_jpeg else "smpte170m"
    range_ = "pc" if is_full_range else colour.range or "tv"
    location = colour.chroma_location or ("center" if is_jpeg else "left")
    return replace(colour, matrix=matrix, range=range_, chroma_location=location)
