"""A folder of pictures, a numbered pattern or one picture, taken as a video."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import av
import av.error
from av.video.frame import VideoFrame

from diffst_cli.colour import colour_from_numbers
from diffst_cli.errors import UserError
from diffst_cli.orientation import read_display_matrix
from diffst_cli.probe import VideoInfo

IMAGE_RATE = Fraction(24)  # frames a second of pictures, which state none
DEMUXERS = {
    ".png": "png_pipe",
    ".jpg": "jpeg_pipe",
    ".jpeg": "jpeg_pipe",
    ".bmp": "bmp_pipe",
    ".tif": "tiff_pipe",
    ".tiff": "tiff_pipe",
}
NUMBER_PATTERN = re.compile(r"%(0\d+)?d")
PNG_HEAD = b"\x89PNG\r\n\x1a\n"
ANIMATION, PIXELS = (
    b"acTL",
    b"IDAT",
)  # the chunk that makes a PNG an animation comes before its pixels
TIFF_HEADS = {b"II*\0": "<", b"MM\0*": ">"}  # and their byte orders
SUBFILE_TYPE, SHORT = (
    254,
    3,
)  # the tag of a TIFF's page that tells what it is, and a type of its value
NO_PAGE = 1 | 4  # its bits of a thumbnail and of a mask
MOST_PAGES = 100  # of a TIFF that are looked at; a damaged one may name its pages in a circle


def is_image_input(path: Path) -> bool:
    """Whether `path` is a folder, a numbered pattern, or a still picture by its name."""
    if path.is_file():
        return path.suffix.lower() in DEMUXERS and not is_animated(path)
    return path.is_dir() or NUMBER_PATTERN.search(path.name) is not None


def is_animated(path: Path) -> bool:
    """Whether a file is an animated PNG."""
    with path.open("rb") as file:
        kind = b"" if file.read(len(PNG_HEAD)) == PNG_HEAD else PIXELS
        while kind not in (ANIMATION, PIXELS):
            head = file.read(8)
            if len(head) < 8:
                return False
            kind = head[4:]
            file.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
        return kind == ANIMATION


def probe_images(path: Path) -> VideoInfo:
    """Facts about pictures as a video of `IMAGE_RATE`; the first picture speaks for all.

    Raises:
        UserError: No pictures, kinds mixed, numbers missing, or the first one is unreadable.
    """
    images = find_images(path)
    frame = decode_image(images[0])
    orientation = read_display_matrix(frame)
    width, height = orientation.turn_size(frame.width, frame.height)
    return VideoInfo(
        path=path,
        container="image2",
        images=images,
        stream_index=0,
        width=width,
        height=height,
        stored_width=frame.width,
        stored_height=frame.height,
        rotation=orientation.rotation,
        mirrored=orientation.mirrored,
        sample_aspect=Fraction(1),
        codec=DEMUXERS[images[0].suffix.lower()].removesuffix("_pipe"),
        pixel_format=frame.format.name,
        bit_depth=bit_depth(frame),
        is_rgb=frame.format.is_rgb or frame.format.has_palette,
        has_alpha=holds_alpha(frame),
        hides_alpha=False,
        frame_rate=IMAGE_RATE,
        time_base=1 / IMAGE_RATE,
        is_variable=False,
        interlaced="progressive",
        colour=colour_from_numbers(
            frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc
        ),
        origin_seconds=Fraction(0),
        start_seconds=Fraction(0),
        duration_seconds=len(images) / IMAGE_RATE,
        num_frames=len(images),
        unkept=(),
        streams=(),
        num_chapters=0,
        tags={},
    )


def bit_depth(frame: VideoFrame) -> int:
    """Of a picture's deepest component, in bits."""
    return max(component.bits for component in frame.format.components)


def holds_alpha(frame: VideoFrame) -> bool:
    """Whether a picture has a place for transparency."""
    return frame.format.has_palette or any(each.is_alpha for each in frame.format.components)


def find_images(path: Path) -> tuple[Path, ...]:
    """The pictures that `path` means, in order: natural order in a folder, by number in a pattern.

    Raises:
        UserError: None found, kinds mixed in a folder, or numbers missing from a sequence.
    """
    if path.is_file():
        return (path,)
    return _find_in_folder(path) if path.is_dir() else _find_numbered(path)


def _find_in_folder(folder: Path) -> tuple[Path, ...]:
    images = [
        each for each in folder.iterdir() if each.suffix.lower() in DEMUXERS and each.is_file()
    ]
    images = [each for each in images if not each.name.startswith(".")]
    if not images:
        raise UserError(
            f"no pictures in the folder `{folder}`",
            hint="PNG, JPEG, BMP and TIFF are read; for a folder of videos use `diffst batch`",
        )
    kinds = sorted({DEMUXERS[each.suffix.lower()].removesuffix("_pipe") for each in images})
    if len(kinds) > 1:
        raise UserError(
            f"the folder `{folder}` mixes kinds of pictures: {', '.join(kinds)}",
            hint="keep the frames of one video, of one kind, in a folder of their own",
        )
    return tuple(sorted(images, key=lambda each: natural_key(each.name)))


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """A sorting key under which `f2` comes before `f10`."""
    parts = re.findall(r"(\d+)|(\D+)", name)
    return tuple((0, int(digits), digits) if digits else (1, 0, text) for digits, text in parts)


def _find_numbered(pattern: Path) -> tuple[Path, ...]:
    match = NUMBER_PATTERN.search(pattern.name)
    if match is None:
        raise UserError(f"no such file: `{pattern}`")
    before, after = pattern.name[: match.start()], pattern.name[match.end() :]
    if pattern.suffix.lower() not in DEMUXERS:
        raise UserError(f"`{pattern}` is not a pattern of PNG, JPEG, BMP or TIFF pictures")
    width = int(match[1] or "0")
    name = re.compile(re.escape(before) + rf"(\d{{{max(width, 1)},}})" + re.escape(after))
    folder = pattern.parent
    found: dict[int, Path] = {}
    for each in sorted(folder.iterdir()) if folder.is_dir() else ():
        number = name.fullmatch(each.name)
        if number is None:
            continue
        other = found.setdefault(int(number[1]), each)
        if other != each:
            raise UserError(
                f"`{other.name}` and `{each.name}` are both picture {int(number[1])} of `{pattern}`",
                hint="remove or rename one of them",
            )
    if not found:
        raise UserError(f"no files match `{pattern}`")
    _require_no_gap(pattern, sorted(found), _named_otherwise(name, folder))
    return tuple(found[number] for number in sorted(found))


def _named_otherwise(name: re.Pattern[str], folder: Path) -> dict[int, str]:
    """By their numbers, the files of a folder whose names fit a pattern but for small and capital letters."""
    loose = re.compile(name.pattern, re.IGNORECASE)
    named = ((loose.fullmatch(each.name), each.name) for each in folder.iterdir())
    return {int(number[1]): file for number, file in named if number}


def _require_no_gap(pattern: Path, numbers: list[int], otherwise: dict[int, str]) -> None:
    """Raise UserError for a number that is missing; `otherwise` are files that only nearly fit, by their numbers."""
    for before, after in pairwise(numbers):
        if after != before + 1:
            near = otherwise.get(before + 1)
            but = f"`{near}` differs in small and capital letters; " if near else ""
            raise UserError(
                f"`{pattern}` lacks picture {before + 1}, though {after} exists",
                hint=f"{but}give the folder instead to take the pictures as they are",
            )


def decode_image(path: Path) -> VideoFrame:
    """The one picture in a file.

    Raises:
        UserError: The file cannot be read, is not the kind of picture its name says, or holds several.
    """
    with _open_image(path) as file:
        if _has_pages(file):
            raise UserError(f"`{path}` has several pages", hint="save each as a picture of its own")
        file.seek(0)
        try:
            with av.open(
                file,
                mode="r",
                format=DEMUXERS[path.suffix.lower()],
                options={"protocol_whitelist": "none"},
            ) as container:
                picture: VideoFrame = next(container.decode(video=0))
                return picture
        except (av.error.FFmpegError, StopIteration, IndexError, ValueError) as error:
            raise UserError(
                f"`{path}` is not a readable picture", hint="remove or replace it"
            ) from error


def _has_pages(file: BinaryIO) -> bool:
    """Whether a file is a TIFF with another page than its first, its thumbnails and masks; none else has pages."""
    head = file.read(8)
    order = TIFF_HEADS.get(head[:4])
    if order is None or len(head) < 8:
        return False
    (page,) = struct.unpack(f"{order}I", head[4:])
    num_whole = 0
    for _ in range(MOST_PAGES):
        file.seek(page)
        count = file.read(2)
        (num_tags,) = struct.unpack(f"{order}H", count) if len(count) == 2 else (0,)
        tags, following = file.read(12 * num_tags), file.read(4)
        if not page or len(following) < 4:
            break
        kinds = [
            struct.unpack_from(f"{order}{'H' if kind == SHORT else 'I'}", value)[0]
            for tag, kind, value in struct.iter_unpack(f"{order}HH4x4s", tags)
            if tag == SUBFILE_TYPE
        ]
        num_whole += not any(kind & NO_PAGE for kind in kinds)
        (page,) = struct.unpack(f"{order}I", following)
    return num_whole > 1


@contextmanager
def _open_image(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise UserError(f"cannot read `{path}`: {error.strerror}") from error
