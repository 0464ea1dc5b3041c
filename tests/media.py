"""Tiny awkward media, made on the spot with the ffmpeg the tool itself uses."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from diffst_cli.ffmpeg import ffmpeg_path

HOSTILE_NAME = "-lead ing 'q\" é 日本 %03d.mp4"
FAST_X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-threads", "1")
LOSSLESS = ("-c:v", "libx264", "-qp", "0", "-preset", "ultrafast", "-threads", "1")
VARIABLE_TICKS = (0, 40, 80, 180, 220, 454, 494, 534)  # milliseconds
BT709_TAGS = "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"


def run_ffmpeg(*arguments: str | Path, stdin: bytes | None = None) -> None:
    """Run ffmpeg and fail the test with its message when it does."""
    command = [str(ffmpeg_path()), "-hide_banner", "-loglevel", "error", "-y", *map(str, arguments)]
    done = subprocess.run(command, input=stdin or b"", capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode(errors="replace")


def file_url(path: Path) -> str:
    """A path that ffmpeg takes literally."""
    return f"file:{path.absolute()}"


def pattern(size: tuple[int, int], num_frames: int, rate: str) -> list[str]:
    """ffmpeg's input arguments for a moving test picture."""
    seconds = num_frames / Fraction(rate)
    source = f"testsrc2=size={size[0]}x{size[1]}:rate={rate}:duration={float(seconds):.6f}"
    return ["-f", "lavfi", "-i", source]


def make_video(
    path: Path,
    *,
    size: tuple[int, int] = (64, 48),
    num_frames: int = 10,
    rate: str = "25",
    filters: str = BT709_TAGS,
    pixel_format: str = "yuv420p",
    encoder: Sequence[str] = FAST_X264,
    options: Sequence[str] = (),
) -> Path:
    """A video of a moving test picture in the container that the name asks for."""
    run_ffmpeg(
        *pattern(size, num_frames, rate), "-vf", filters, "-pix_fmt", pixel_format,
        "-frames:v", str(num_frames), *encoder, *options, file_url(path),
    )  # fmt: skip
    return path


def make_variable_rate(path: Path, ticks: Sequence[int] = VARIABLE_TICKS) -> Path:
    """A video whose frames are shown at `ticks` milliseconds."""
    moments = "+".join(rf"eq(N\,{index})*{tick}" for index, tick in enumerate(ticks))
    return make_video(
        path,
        num_frames=len(ticks),
        filters=f"{BT709_TAGS},settb=1/1000,setpts={moments}",
        # Without a duration for the last frame, MP4 files of older ffmpeg versions lose it.
        options=(
            "-fps_mode",
            "passthrough",
            "-enc_time_base",
            "1:1000",
            "-bsf:v",
            "setts=duration=20",
        ),
    )


def make_rotated(path: Path, degrees: int, *, mirrored: bool = False) -> Path:
    """A video stored as 64x48 and shown turned `degrees` clockwise, then flipped if `mirrored`.

    The stored picture is red on its left half and blue on its right, green along its top quarter.
    """
    plain = path.with_name(f"plain-{path.name}")
    left, top = "drawbox=w=iw/2:h=ih:c=red:t=fill", "drawbox=w=iw:h=ih/4:c=lime:t=fill"
    make_video(plain, filters=f"drawbox=w=iw:h=ih:c=blue:t=fill,{left},{top},{BT709_TAGS}")
    flags = ["-display_rotation", str(-degrees)] + (["-display_hflip"] if mirrored else [])
    run_ffmpeg(*flags, "-i", file_url(plain), "-c", "copy", file_url(path))
    return path


def make_cropped(path: Path, size: tuple[int, int]) -> Path:
    """A MOV of 64x48 whose container says that only its middle of that size is to be shown (`clap`)."""
    data = bytearray(make_video(path, encoder=LOSSLESS).read_bytes())
    numbers = (size[0], 1, size[1], 1, 0, 1, 0, 1)  # as fractions: width, height, and two offsets
    aperture = struct.pack(">I4s8I", 40, b"clap", *numbers)
    head = data.rindex(b"moov")
    for box in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1"):
        at = data.index(box, head) - 4
        length = int.from_bytes(data[at : at + 4], "big")
        data[at : at + 4] = (length + len(aperture)).to_bytes(4, "big")
    data[at + length : at + length] = aperture
    path.write_bytes(data)
    return path


def make_captioned(path: Path) -> Path:
    """A raw H.264 stream whose first picture brings a closed caption (ATSC A/53, part 4)."""
    data = make_video(path).read_bytes()
    caption = b"\xfc\x94\x2c"  # a pair of bytes of the first field
    content = b"\xb5\0\x31GA94\x03\x41\xff" + caption + b"\xff"
    message = b"\0\0\1\x06\x04" + bytes([len(content)]) + content + b"\x80"
    first = data.index(b"\0\0\1\x65")
    path.write_bytes(data[:first] + message + data[first:])
    return path


def make_tiled(path: Path) -> Path:
    """An AVIF of 128x64 made of two tiles (ISO/IEC 23008-12)."""

    def box(kind: bytes, *parts: bytes, full: int | None = None) -> bytes:
        body = b"".join(parts) if full is None else struct.pack(">I", full) + b"".join(parts)
        return struct.pack(">I4s", 8 + len(body), kind) + body

    make_video(path, size=(64, 64), num_frames=1, encoder=("-c:v", "libsvtav1"))
    data = path.read_bytes()
    at = data.index(b"av1C") - 4
    decoder = data[at : at + int.from_bytes(data[at : at + 4], "big")]
    tile = data[data.index(b"mdat") + 4 :]
    kinds = {1: b"av01", 2: b"av01", 3: b"grid"}
    items = [
        box(b"infe", struct.pack(">HH4sx", n, 0, kinds[n]), full=2 << 24 | (n < 3)) for n in kinds
    ]
    sizes = [box(b"ispe", struct.pack(">II", width, 64), full=0) for width in (64, 128)]
    owners = b"".join(struct.pack(">HBBB", n, 2, 1, 0x82) for n in (1, 2)) + struct.pack(
        ">HBB", 3, 1, 3
    )
    properties = (
        box(b"ipco", sizes[0], decoder, sizes[1]),
        box(b"ipma", struct.pack(">I", 3), owners, full=0),
    )
    grid = struct.pack(">BBBBHH", 0, 0, 0, 1, 128, 64)

    def meta(begin: int) -> bytes:
        places = [struct.pack(">HHHHII", n, 0, 0, 1, begin, len(tile)) for n in (1, 2)]
        places.append(struct.pack(">HHHHII", 3, 1, 0, 1, 0, len(grid)))
        return box(
            b"meta",
            box(b"hdlr", b"\0\0\0\0pict", bytes(13), full=0),
            box(b"pitm", struct.pack(">H", 3), full=0),
            box(b"iloc", b"\x44\0", struct.pack(">H", 3), *places, full=1 << 24),
            box(b"iinf", struct.pack(">H", 3), *items, full=0),
            box(b"iref", box(b"dimg", struct.pack(">4H", 3, 2, 1, 2)), full=0),
            box(b"iprp", *properties),
            box(b"idat", grid),
            full=0,
        )

    head = box(b"ftyp", b"avif\0\0\0\0avifmif1miaf")
    begin = len(head) + len(meta(0)) + 8
    path.write_bytes(head + meta(begin) + box(b"mdat", tile))
    return path


def make_interlaced(
    path: Path,
    *,
    size: tuple[int, int] = (720, 576),
    top_first: bool = True,
    flagged: bool = True,
) -> Path:
    """A picture of fields 1/50 s apart, woven into 25 frames a second; `flagged` says so in the stream."""
    order = "top" if top_first else "bottom"
    weave = f"tinterlace=mode=interleave_{order},fieldorder={'tff' if top_first else 'bff'}"
    mode = ("-flags", "+ilme+ildct", "-x264-params", f"{'tff' if top_first else 'bff'}=1")
    return make_video(
        path,
        size=size,
        num_frames=20,
        rate="50",
        filters=weave if flagged else f"{weave},setfield=prog",
        options=mode if flagged else (),
    )


def make_rich(path: Path) -> Path:
    """A Matroska file with two audio tracks, two subtitles, two chapters, an attachment and a title."""
    folder = path.parent
    subtitles = folder / "words.srt"
    subtitles.write_text("1\n00:00:00,000 --> 00:00:00,300\nгород 日本\n", encoding="utf-8")
    chapters = folder / "chapters.txt"
    parts = "".join(
        f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={i * 200}\nEND={i * 200 + 200}\ntitle=part {i}\n"
        for i in range(2)
    )
    chapters.write_text(f";FFMETADATA1\ntitle=rich\n{parts}", encoding="utf-8")
    font = folder / "letters.ttf"
    font.write_bytes(bytes(range(256)))
    run_ffmpeg(
        *pattern((64, 48), 10, "25"), *tone(440), *tone(660), "-i", subtitles, "-i", chapters,
        "-map", "0:v", "-map", "1:a", "-map", "2:a", "-map", "3:s", "-map", "3:s", "-map_metadata", "4",
        "-map_chapters", "4", "-attach", font, "-metadata:s:t", "mimetype=font/ttf",
        "-vf", BT709_TAGS, *FAST_X264, "-c:a:0", "aac", "-c:a:1", "libopus", "-c:s:0", "srt", "-c:s:1", "ass",
        "-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=fra",
        "-metadata:s:s:0", "language=rus", "-disposition:s:1", "forced", file_url(path),
    )  # fmt: skip
    return path


def tone(hertz: int, seconds: float = 0.4) -> list[str]:
    """ffmpeg's input arguments for a sine."""
    return ["-f", "lavfi", "-i", f"sine=frequency={hertz}:duration={seconds}:sample_rate=48000"]


def make_with_audio(path: Path, *, audio_seconds: float = 0.4) -> Path:
    """A video of 0.4 s with one audio track."""
    run_ffmpeg(
        *pattern((64, 48), 10, "25"), *tone(440, audio_seconds), "-vf", BT709_TAGS,
        "-pix_fmt", "yuv420p", *FAST_X264, "-c:a", "aac", file_url(path),
    )  # fmt: skip
    return path


def make_late_sound(path: Path, *, begins: int = 8, rest: int = 1) -> Path:
    """A video with sound throughout, and with a second of more sound that begins `rest` seconds before its end."""
    length = begins + rest
    run_ffmpeg(
        *pattern((64, 48), 5 * length, "5"), *tone(440, length),
        "-itsoffset", str(begins), *tone(660, 1), "-map", "0", "-map", "1", "-map", "2",
        "-r", "25", "-c:v", "mpeg2video", "-c:a", "ac3", file_url(path),
    )  # fmt: skip
    return path


def make_silent_track(path: Path) -> Path:
    """An MPEG-TS of 0.4 s that announces three streams, of which the last, of sound, holds nothing."""
    run_ffmpeg(
        *pattern((64, 48), 10, "25"), *tone(440), *tone(660), "-map", "0", "-map", "1", "-map", "2",
        "-c:v", "mpeg2video", "-c:a", "ac3", "-streamid", "2:258", file_url(path),
    )  # fmt: skip
    drop_packets(path, 258)
    return path


def drop_packets(path: Path, *identifiers: int) -> None:
    """Takes all packets of these streams out of an MPEG-TS."""
    data = path.read_bytes()
    packets = [data[begin : begin + 188] for begin in range(0, len(data), 188)]
    kept = (
        each for each in packets if int.from_bytes(each[1:3], "big") & 0x1FFF not in identifiers
    )
    path.write_bytes(b"".join(kept))


def make_audio_only(path: Path) -> Path:
    """An audio file, whatever its name."""
    run_ffmpeg(*tone(440), "-c:a", "aac", file_url(path))
    return path


def make_truncated(path: Path, share: float = 0.6) -> Path:
    """An MP4 whose index is whole and whose data stops after `share` of the file."""
    whole = path.with_name(f"whole-{path.name}")
    make_video(whole, num_frames=50, options=("-movflags", "+faststart", "-g", "10"))
    path.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
    return path


def make_flat(
    path: Path,
    code_values: Sequence[Sequence[int]],
    *,
    pixel_format: str = "yuv444p",
    tags: str = "",
    encoder: Sequence[str] = LOSSLESS,
    size: tuple[int, int] = (16, 16),
) -> Path:
    """A lossless Matroska file with one frame of each flat colour, given as stored code values.

    Args:
        path: File to write.
        code_values: One (Y', Cb, Cr) or, in the order of the format's planes, colour a frame.
        pixel_format: A planar format that ends in its bit depth or is 8-bit.
        tags: Arguments of the `setparams` filter, as `colorspace=bt709:range=tv`.
        encoder: Lossless, for that format.
        size: Of each frame.
    """
    deep = pixel_format.endswith(("10le", "12le", "16le"))
    shrink = {"420": (2, 2), "422": (2, 1)}.get(pixel_format[3:6], (1, 1))
    planes = [size, *[(size[0] // shrink[0], size[1] // shrink[1])] * 2]
    raw = b"".join(
        np.full(width * height, value, "<u2" if deep else "u1").tobytes()
        for values in code_values
        for value, (width, height) in zip(values, planes, strict=True)
    )
    run_ffmpeg(
        "-f", "rawvideo", "-pixel_format", pixel_format, "-video_size", f"{size[0]}x{size[1]}",
        "-framerate", "25", "-i", "pipe:0", "-vf", f"setparams={tags}" if tags else "null",
        *encoder, "-pix_fmt", pixel_format, file_url(path), stdin=raw,
    )  # fmt: skip
    return path


def make_gif(path: Path, ticks: Sequence[int] = (0, 10, 20, 50)) -> Path:
    """A GIF whose frames are shown at `ticks` hundredths of a second."""
    moments = "+".join(rf"eq(N\,{index})*{tick}" for index, tick in enumerate(ticks))
    run_ffmpeg(
        *pattern((64, 48), len(ticks), "25"), "-frames:v", str(len(ticks)),
        "-vf", f"settb=1/100,setpts={moments}", "-fps_mode", "passthrough",
        "-enc_time_base", "1:100", file_url(path),
    )  # fmt: skip
    return path


def make_fading(
    path: Path, *, first: int, pixel_format: str = "rgba", encoder: Sequence[str] = ()
) -> Path:
    """Four frames, a corner of which is transparent from frame `first` on; none where there is no such frame."""
    alpha = f"if(gte(N,{first})*lt(X,8)*lt(Y,8),0,255)"
    filters = f"format=rgba,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='{alpha}'"
    if path.suffix == ".gif":
        filters += ",split[a][b];[a]palettegen[c];[b][c]paletteuse"
    return make_video(
        path, num_frames=4, filters=filters, pixel_format=pixel_format, encoder=encoder
    )


def write_image(path: Path, pixels: np.ndarray) -> Path:
    """A PNG, JPEG, BMP or TIFF of `pixels`: (height, width, 3 or 4), uint8 or uint16."""
    channels = "rgb" if pixels.shape[2] == 3 else "rgba"
    depth = {1: {"rgb": "rgb24", "rgba": "rgba"}, 2: {"rgb": "rgb48le", "rgba": "rgba64le"}}
    frame = VideoFrame.from_ndarray(
        np.ascontiguousarray(pixels), format=depth[pixels.dtype.itemsize][channels]
    )
    codec = {".png": "png", ".jpg": "mjpeg", ".bmp": "bmp", ".tif": "tiff"}[path.suffix]
    encoder = cast(VideoCodecContext, av.CodecContext.create(codec, "w"))
    target = {
        "png": frame.format.name if pixels.itemsize == 1 else frame.format.name.replace("le", "be"),
        "mjpeg": "yuvj444p", "bmp": "bgr24", "tiff": frame.format.name,
    }[codec]  # fmt: skip
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, target
    encoder.time_base = Fraction(1, 25)
    packets = [*encoder.encode(frame.reformat(format=target)), *encoder.encode(None)]
    path.write_bytes(b"".join(bytes(packet) for packet in packets))
    return path


def make_png_folder(
    folder: Path, *, num_images: int = 4, deep: bool = False, first: int = 0
) -> Path:
    """A folder of 24x16 pictures `frame_0000.png` ...; picture i is grey of level 10 i (x 257 if deep)."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(num_images):
        level = 10 * index * (257 if deep else 1)
        pixels = np.full((16, 24, 3), level, np.uint16 if deep else np.uint8)
        write_image(folder / f"frame_{first + index:04d}.png", pixels)
    return folder
