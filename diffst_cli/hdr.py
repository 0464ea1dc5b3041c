"""What an HDR10 file says of the screen it was graded on and of its brightest pixels."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from av.video.stream import VideoStream

from diffst_cli.probe import VideoInfo
from diffst_cli.probe_file import open_container

HDR10_TRANSFER = "smpte2084"
# FFmpeg's AVMasteringDisplayMetadata: x and y of red, green, blue and white, darkest and brightest
# luminance as fractions, then two flags; and AVContentLightMetadata.
MASTERING = struct.Struct("22i")
LIGHT = struct.Struct("2I")
CHROMATICITY_UNIT = 50_000  # x265 counts in 1/50000
LUMINANCE_UNIT = 10_000  # and in 1/10000 cd/m2


def x265_parameters(info: VideoInfo) -> tuple[str, ...]:
    """The source's static HDR10 data as x265 takes it; empty when there is none.

    The first frame is decoded, because that is where the data is for sure.
    """
    if info.colour.transfer != HDR10_TRANSFER or info.images:
        return ()
    with open_container(info.path) as container:
        stream = container.streams[info.stream_index]
        assert isinstance(stream, VideoStream)
        side_data: Any = next(container.decode(stream)).side_data  # PyAV's stub has another class
        mastering = _entry(side_data, "MASTERING_DISPLAY_METADATA")
        light = _entry(side_data, "CONTENT_LIGHT_LEVEL")
    parameters = []
    if len(mastering) >= MASTERING.size:
        parameters += _mastering(MASTERING.unpack_from(mastering))
    if len(light) >= LIGHT.size:
        brightest, mean = LIGHT.unpack_from(light)
        parameters.append(f"max-cll={brightest},{mean}")
    return tuple(parameters)


def _entry(side_data: Mapping[str, bytes], name: str) -> bytes:
    try:
        return bytes(side_data[name])
    except KeyError:
        return b""


def _mastering(values: Sequence[int]) -> list[str]:
    """One parameter, or none when the primaries or the luminance are not given."""
    has_primaries, has_luminance = values[20:22]
    if not (has_primaries and has_luminance):
        return []
    ratios = list(zip(values[0:20:2], values[1:20:2], strict=True))
    if any(bottom == 0 for _, bottom in ratios):
        return []
    places = [round(top * CHROMATICITY_UNIT / bottom) for top, bottom in ratios[:8]]
    darkest, brightest = (round(top * LUMINANCE_UNIT / bottom) for top, bottom in ratios[8:])
    red, green, blue, white = (f"({x},{y})" for x, y in zip(places[::2], places[1::2], strict=True))
    return [f"master-display=G{green}B{blue}R{red}WP{white}L({brightest},{darkest})"]
