"""Pictures out of the files and shards that a list of clips names, upright and in RGB, and clips into shards."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, Interpolation
from av.video.stream import VideoStream
from numpy.typing import NDArray

from diffst.training.media import MATRICES, open_file, open_video, words_of
from diffst.wan.training.manifest import Clip

EXACT = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
)
BT709_LINES = 720  # from which a video that states no matrix has BT.709's
HDR_TRANSFERS = (16, 18)  # PQ and HLG in H.273
PACKED_CRF = "10"  # of clips in shards: what is lost does not show
PACKED_KEY_INTERVAL = 24  # frames

Image = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class StreamFacts:
    """What the header of a video says."""

    width: int
    height: int
    """As stored."""
    frame_rate: Fraction | None
    """On average, in frames a second; None where it is not known."""
    is_hdr: bool


class Picture:
    """A decoded frame, turned into arrays only when asked."""

    def __init__(self, frame: VideoFrame) -> None:
        self._frame = frame

    @property
    def time(self) -> Fraction | None:
        """When it is shown, in seconds; None when the file does not say."""
        if self._frame.pts is None or self._frame.time_base is None:
            return None
        return self._frame.pts * self._frame.time_base

    @property
    def is_interlaced(self) -> bool:
        """Whether its lines are of two instants."""
        return bool(self._frame.interlaced_frame)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, upright."""
        height, width = self._frame.height, self._frame.width
        return (width, height) if self._quarter_turns % 2 else (height, width)

    @property
    def _quarter_turns(self) -> int:
        return round(self._frame.rotation / 90) % 4  # counter-clockwise

    def rgb(self, size: tuple[int, int] | None = None) -> Image:
        """(H, W, 3), upright; as stored, shrunk to `size` (height, width), when that is given."""
        guess = Colorspace.ITU709 if self._frame.height >= BT709_LINES else Colorspace.ITU601
        height, width = size or (self._frame.height, self._frame.width)
        stated = int(self._frame.colorspace) in MATRICES
        image: Image = self._frame.reformat(
            width=width,
            height=height,
            format="rgb24",
            src_colorspace=None if stated else guess,
            interpolation=EXACT if size is None else Interpolation.AREA,
        ).to_ndarray()  # type: ignore[assignment]  # it says rgb24
        return image if size else np.rot90(image, self._quarter_turns)

    def grey(self) -> Image:
        """The luma, (H, W), as stored."""
        luma: Image = self._frame.reformat(format="gray").to_ndarray()  # type: ignore[assignment]
        return luma


def read_facts(path: Path) -> StreamFacts:
    """The header of a video.

    Raises:
        ValueError: It cannot be read, or has no video.
    """
    with open_video(path) as container:
        stream = _video(container, path)
        return StreamFacts(
            width=stream.width,
            height=stream.height,
            frame_rate=stream.average_rate,
            is_hdr=int(stream.codec_context.color_trc) in HDR_TRANSFERS,
        )


def decode(clip: Clip | Path) -> Iterator[Picture]:
    """Frames in the order they are shown: of a whole file, or of a file from a clip's first one on.

    Raises:
        ValueError: The file is broken or is no video.
    """
    path = clip.path if isinstance(clip, Clip) else clip
    start = clip.start if isinstance(clip, Clip) else None
    seeks = isinstance(clip, Clip) and clip.offset is None
    data = stored_bytes(clip) if isinstance(clip, Clip) and clip.offset is not None else None
    with open_video(path, data) as container:
        found = _from(container, path, start, seeks=seeks)
        if found is not None:
            yield from found
            return
    # A file whose index leads past the frame is read from its beginning.
    with open_video(path, data) as container:
        yield from _from(container, path, start, seeks=False) or ()


def _from(
    container: InputContainer, path: Path, start: Fraction | None, *, seeks: bool
) -> Iterator[Picture] | None:
    """Pictures from `start` on; None when seeking went past it, or past the end."""
    stream = _video(container, path)
    if seeks and start and stream.time_base:
        container.seek(int(start / stream.time_base), stream=stream, backward=True)
    pictures = (Picture(frame) for frame in container.decode(stream))
    if start is None:
        return pictures
    first = next((p for p in pictures if p.time is not None), None)
    if first is None or cast(Fraction, first.time) > start:
        return None if seeks else iter(())
    rest = (p for p in (first, *pictures) if p.time is not None)
    return (p for p in rest if cast(Fraction, p.time) >= start)


def read_frames(clip: Clip, first: int, count: int) -> Image:
    """Some frames of a clip, (count, H, W, 3) RGB, upright.

    Args:
        clip: A picture gives its one frame.
        first: Number of the first frame in the clip, from 0.
        count: At least 1.

    Raises:
        ValueError: The file is not what the list says, or cannot be read.
    """
    if clip.kind == "image":
        return read_image(clip)[None]
    frames = []
    with closing(cast("io.IOBase", decode(clip))) as pictures:  # a generator, which can be closed
        for number, picture in enumerate(cast("Iterable[Picture]", pictures)):
            if number >= first:
                frames.append(picture.rgb())
            if len(frames) == count:
                break
    if len(frames) < count:
        raise ValueError(f"`{clip.path}` has fewer frames than the list of clips says")
    return np.stack(frames)


def read_image(clip: Clip) -> Image:
    """A picture, (H, W, 3) RGB, turned as its EXIF data say.

    Raises:
        ValueError: It cannot be read.
    """
    return _image(stored_bytes(clip), clip.path)


def picture_bytes(clip: Clip) -> bytes:
    """A picture as it is stored.

    Raises:
        ValueError: It cannot be read, or is none.
    """
    data = stored_bytes(clip)
    _image(data, clip.path)
    return data


def _image(data: bytes, path: Path) -> Image:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    except cv2.error as error:
        raise ValueError(f"cannot read `{path}`: {words_of(error)}") from error
    if image is None:
        raise ValueError(f"cannot read `{path}`: it is no picture that OpenCV knows")
    return cast("Image", cv2.cvtColor(image, cv2.COLOR_BGR2RGB))


def stored_bytes(clip: Clip) -> bytes:
    """The bytes of a clip's file, or of its part of a shard.

    Raises:
        ValueError: They cannot be read, or the shard ends before.
    """
    begin, path = clip.offset or 0, clip.path
    try:
        with open_file(path) as file:
            length = file.seek(0, io.SEEK_END)
            end = length if clip.num_bytes is None else begin + clip.num_bytes
            if end > length:
                raise ValueError(f"`{path}` ends before what the list of clips says is in it")
            file.seek(begin)
            return file.read(end - begin)
    except OSError as error:
        raise ValueError(f"cannot read `{path}`: {words_of(error)}") from error


def packed(clip: Clip) -> bytes:
    """A video clip as a small MP4 of its own: H.264 4:4:4 of hardly any loss, whose first frame is at 0.

    Raises:
        ValueError: The clip cannot be read, or is not what the list says.
    """
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        options = {"crf": PACKED_CRF, "preset": "fast"}
        stream = container.add_stream("libx264", rate=clip.frame_rate, options=options)
        stream.width, stream.height, stream.pix_fmt = clip.width, clip.height, "yuv444p"
        stream.codec_context.gop_size = PACKED_KEY_INTERVAL
        stream.codec_context.colorspace = Colorspace.ITU709
        for image in read_frames(clip, 0, clip.num_frames):
            if image.shape[:2] != (clip.height, clip.width):
                raise ValueError(f"`{clip.path}` is not of the size that the list of clips says")
            frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            coded = frame.reformat(
                format="yuv444p", dst_colorspace=Colorspace.ITU709, interpolation=EXACT
            )
            container.mux(stream.encode(coded))
        container.mux(stream.encode())
    return file.getvalue()


def _video(container: InputContainer, path: Path) -> VideoStream:
    if not container.streams.video:
        raise ValueError(f"there is no video in `{path}`")
    stream = container.streams.video[0]
    stream.thread_count = 1  # many files are read at once
    return stream
