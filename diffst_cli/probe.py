"""What is in a video file: streams, exact times, colour, rotation, sample aspect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from diffst_cli.colour import Colour, fill_in

__all__ = ["Colour", "StreamInfo", "VideoInfo", "probe", "resolved_colour"]

CHAPTERS = "chapters"  # the track of MOV and MP4 that holds their names
LARGEST_ASPECT = (
    16  # of a pixel, either way; what says more is damaged, and no player would show it
)


@dataclass(frozen=True, kw_only=True)
class StreamInfo:
    """One stream of a file, as its header tells."""

    index: int
    kind: str
    """`video`, `audio`, `subtitle`, `attachment` or `data`; cover art is `video` with `attached_pic`."""
    codec: str
    """FFmpeg's decoder name, `timecode`, `chapters`, or `unknown`."""
    language: str | None
    title: str | None
    disposition: tuple[str, ...]
    """FFmpeg's flag names, as `default`, `forced`, `attached_pic`."""
    start_seconds: Fraction | None
    duration_seconds: Fraction | None
    num_channels: int = 0
    """Of sound; 0 for other kinds."""
    is_empty: bool = False
    """Whether nothing of it was found near the beginning, though the file announces it."""


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """A video input and its main video stream; frozen facts, nothing open."""

    path: Path
    container: str
    """FFmpeg's demuxer names, comma-separated (`mov,mp4,m4a,...`); `image2` for pictures."""
    images: tuple[Path, ...]
    """The pictures of a folder or numbered sequence, in order; empty for a video file."""
    stream_index: int
    width: int
    """Of the picture as shown, after rotation; what the reader yields."""
    height: int
    stored_width: int
    """Before rotation, without what the container says to cut off."""
    stored_height: int
    rotation: int
    """0, 90, 180 or 270 degrees clockwise, to be applied after `mirrored`."""
    mirrored: bool
    """Whether the stored picture is flipped left-right before it is rotated."""
    sample_aspect: Fraction
    """Width over height of one pixel of the picture as shown; 1 when unstated."""
    codec: str
    pixel_format: str
    bit_depth: int
    """Of the deepest component, in bits."""
    is_rgb: bool
    has_alpha: bool
    """Whether decoded pixels have a place for transparency; the reader composites over black."""
    hides_alpha: bool
    """Whether it has transparency that the decoder does not give."""
    frame_rate: Fraction
    """Nominal for constant rate, average for variable, per second."""
    time_base: Fraction
    """Unit of the stream's timestamps, in seconds."""
    is_variable: bool
    """Whether the frames are unevenly spaced in time, judged from the first packets."""
    interlaced: str
    """`progressive`, `tff` (top field first) or `bff`."""
    colour: Colour
    """What the file states; see `resolved_colour`."""
    origin_seconds: Fraction
    """Where the file's clock starts, over all streams: what players show as 0, and `--start` counts from."""
    start_seconds: Fraction
    """Time of the first frame on that clock, as the header has it."""
    duration_seconds: Fraction | None
    """Of the video stream; an estimate from headers, None when they are silent."""
    num_frames: int | None
    """An estimate from headers, None when they are silent."""
    counts_stored: bool = False
    """Whether its times count pictures as they are stored, though they are shown in another order."""
    unkept: tuple[str, ...]
    """What comes with the pictures and no output keeps, one sentence each."""
    streams: tuple[StreamInfo, ...]
    num_chapters: int
    tags: Mapping[str, str]

    @property
    def bytes_per_sample(self) -> int:
        """1 for 8-bit frames, 2 for deeper ones (uint16)."""
        return 1 if self.bit_depth <= 8 else 2

    @property
    def rgb_format(self) -> str:
        """FFmpeg's name of the pixel format in which the reader gets the frames."""
        if self.bytes_per_sample == 1:
            return "rgba" if self.has_alpha else "rgb24"
        return "rgba64le" if self.has_alpha else "rgb48le"


def resolved_colour(info: VideoInfo) -> Colour:
    """The colour the reader converts with and the writer keeps: stated, or the usual guess."""
    return fill_in(
        info.colour, pixel_format=info.pixel_format, is_rgb=info.is_rgb, height=info.stored_height
    )


def probe(path: Path) -> VideoInfo:
    """Facts about a video file, a folder of pictures, or a numbered pattern such as `f_%04d.png`.

    Only the first frame is decoded, to learn what headers leave out and to prove it can be.

    Raises:
        UserError: Missing, a folder without pictures, empty, a playlist or address, not a video,
            audio only, or in a format nothing here can decode.
    """
    from diffst_cli.probe_file import probe_file  # these need PyAV, which this module does not
    from diffst_cli.probe_images import is_image_input, probe_images

    return probe_images(path) if is_image_input(path) else probe_file(path)
