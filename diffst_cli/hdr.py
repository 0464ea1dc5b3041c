"""What an HDR10 file says of the screen it was graded on and of its brightest pixels."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from av.video.stream import VideoStream

from diffst_cli.packet_scan import decode_first
from diffst_cli.probe import VideoInfo
from diffst_cli.probe_file import open_container

HDR10_TRANSFER = "smpte2084"
# FFmpeg's AVMasteringDisplayMetadata: x and y of red, green, blue and white, darkest and brightest
# luminance as fractions, then two flags; and AVContentLightMetadata.
MASTERING = struct.Struct("22i")
LIGHT = struct.Struct("2I")
CHROMATICITY_UNIT = 50_000  # x265 counts in 1/50000
LUMINANCE_UNIT = 10_000  # and in 1/10000 cd/m2


@dataclass(frozen=True, kw_only=True)
class StaticData:
    """What HDR10 says of a whole video."""

    display: tuple[Fraction, ...] = ()
    """x and y of red, green, blue and white, then darkest and brightest, cd/m2; empty when not given."""
    light: tuple[int, int] | None = None
    """Brightest pixel and brightest mean of a frame, cd/m2."""


def read_static(info: VideoInfo) -> StaticData:
    """The source's static HDR10 data; empty when there is none.

    The first frame is decoded, because that is where the data is for sure; of a damaged start, the first that can be.
    """
    if info.colour.transfer != HDR10_TRANSFER or info.images:
        return StaticData()
    with open_container(info.path) as container:
        stream = container.streams[info.stream_index]
        assert isinstance(stream, VideoStream)
        frame = decode_first(container, stream)
        if frame is None:
            return StaticData()
        side_data: Any = frame.side_data  # PyAV's stub has another class
        mastering = _entry(side_data, "MASTERING_DISPLAY_METADATA")
        light = _entry(side_data, "CONTENT_LIGHT_LEVEL")
    display: tuple[Fraction, ...] = ()
    if len(mastering) >= MASTERING.size:
        display = _display(MASTERING.unpack_from(mastering))
    if len(light) < LIGHT.size:
        return StaticData(display=display)
    brightest, mean = LIGHT.unpack_from(light)
    return StaticData(display=display, light=(brightest, mean))


def x265_parameters(data: StaticData) -> tuple[str, ...]:
    """Static HDR10 data as x265 takes it."""
    parameters = []
    if data.display:
        places = [round(value * CHROMATICITY_UNIT) for value in data.display[:8]]
        darkest, brightest = (round(value * LUMINANCE_UNIT) for value in data.display[8:])
        parameters.append(f"master-display={_words(places, brightest, darkest)}")
    if data.light:
        parameters.append(f"max-cll={data.light[0]},{data.light[1]}")
    return tuple(parameters)


def svt_parameters(data: StaticData) -> tuple[str, ...]:
    """Static HDR10 data as SVT-AV1 takes it."""
    parameters = []
    if data.display:
        values = [f"{float(value):.5f}" for value in data.display]
        parameters.append(f"mastering-display={_words(values[:8], values[9], values[8])}")
    if data.light:
        parameters.append(f"content-light={data.light[0]},{data.light[1]}")
    return tuple(parameters)


def _words(places: Sequence[object], brightest: object, darkest: object) -> str:
    """A display in the order that both encoders read."""
    red, green, blue, white = (f"({x},{y})" for x, y in zip(places[::2], places[1::2], strict=True))
    return f"G{green}B{blue}R{red}WP{white}L({brightest},{darkest})"


def _entry(side_data: Mapping[str, bytes], name: str) -> bytes:
    try:
        return bytes(side_data[name])
    except KeyError:
        return b""


def _display(values: Sequence[int]) -> tuple[Fraction, ...]:
    """Empty when the primaries or the luminance are not given."""
    has_primaries, has_luminance = values[20:22]
    if not (has_primaries and has_luminance) or 0 in values[1:20:2]:
        return ()
    return tuple(Fraction(*pair) for pair in zip(values[0:20:2], values[1:20:2], strict=True))
