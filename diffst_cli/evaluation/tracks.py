"""Reference clips and the degraded inputs made from them: the protocol of `diffst evaluate`.

Everything stays in the YUV of the source, so that no colour conversion enters the comparison.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from diffst_cli.errors import UserError
from diffst_cli.evaluation.layouts import Clip
from diffst_cli.evaluation.measuring import COLOUR_FILTER, ffmpeg_output, read_from
from diffst_cli.ffmpeg import PROTOCOLS, file_argument
from diffst_cli.hashing import sha256
from diffst_cli.probe import VideoInfo, probe
from diffst_cli.words import counted

SCALE = 4  # reference size over degraded size
FPS_FACTOR = 2  # reference frame rate over degraded frame rate
SIZE_MULTIPLE = SCALE * 2  # the degraded clip is 4:2:0, so even both ways
LEAST_SIDE = 64  # pixels of a reference, after cropping
LEAST_FRAMES = (
    5  # minterpolate gives two fewer, and one new frame must have a kept one on each side
)
NOISE_SEED = 20260

COLOUR_TAGS = (
    *("-color_range", "tv", "-colorspace", "bt709"),
    *("-color_primaries", "bt709", "-color_trc", "bt709"),
)


@dataclass(frozen=True, kw_only=True)
class Track:
    """One way in which videos are bad."""

    name: str
    """What the option and the table call it."""
    before: tuple[str, ...] = ()
    """Filters on the full-size frames."""
    after: tuple[str, ...] = ()
    """Filters on the small frames."""
    crf: int
    """x264 rate factor of the degraded clip."""


TRACKS = {
    track.name: track
    for track in (
        Track(name="clean", crf=1),
        Track(name="web", crf=24),
        Track(
            name="old",
            before=("gblur=sigma=2",),
            after=(f"noise=alls=8:allf=t:all_seed={NOISE_SEED}",),
            crf=30,
        ),
    )
}


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One true clip, cut and cropped, stored without loss."""

    name: str
    """The source file's name without its suffix."""
    path: Path
    """Lossless 8-bit 4:2:0 video."""
    width: int
    """Pixels, a multiple of 8."""
    height: int
    """Pixels, a multiple of 8."""
    uncut: tuple[int, int]
    """Width and height of the source, before it was cropped at the right and bottom."""
    frame_rate: Fraction
    """Frames per second."""


def make_reference(clip: Clip, work: Path, num_frames: int) -> Reference:
    """Cut a clip to its first frames, crop it to multiples of 8, store it without loss.

    Args:
        clip: What to cut.
        work: Folder that keeps what was made; a second call finds it there.
        num_frames: At most this many frames.

    Raises:
        UserError: The source cannot be read, is smaller than `LEAST_SIDE` either way, or gives fewer frames
            than `LEAST_FRAMES`.
    """
    info = probe(clip.source)
    width, height = (side // SIZE_MULTIPLE * SIZE_MULTIPLE for side in (info.width, info.height))
    if min(width, height) < LEAST_SIDE:
        raise UserError(
            f"`{clip.source}` is too small to measure: {info.width}x{info.height}; "
            f"each side takes {LEAST_SIDE} pixels or more",
            hint="leave it out",
        )
    path = work / "reference" / f"{clip.name}.nut"
    filters = [
        f"trim=end_frame={num_frames}",
        _constant_rate(info.frame_rate),
        f"crop={width}:{height}:0:0",
        f"scale=out_range=tv{_matrix(info)}:flags=accurate_rnd+full_chroma_int",
        "format=yuv420p",
        "setsar=1",
        COLOUR_FILTER,
    ]
    arguments = _filtered(_open(info, work), filters, info.frame_rate)
    make_once(_files(info), [*arguments, "-c:v", "ffv1", *COLOUR_TAGS], path)
    made = probe(path).num_frames or 0  # of the source its header may promise more
    if made < LEAST_FRAMES:
        raise UserError(
            f"`{clip.source}` is too short to measure: {counted(made, 'frame')}; it takes {LEAST_FRAMES} or more",
            hint="leave it out",
        )
    return Reference(
        name=clip.name,
        path=path,
        width=width,
        height=height,
        uncut=(info.width, info.height),
        frame_rate=info.frame_rate,
    )


def make_input(reference: Reference, track: Track, work: Path) -> Path:
    """The reference degraded: every second frame, a quarter of the size, damaged as the track says.

    Returns:
        An MP4 under `work`, made once; the same bytes for the same reference.
    """
    rate = reference.frame_rate / FPS_FACTOR
    small = (
        f"scale={reference.width // SCALE}:{reference.height // SCALE}:flags=bicubic+accurate_rnd"
    )
    filters = [
        f"select=not(mod(n\\,{FPS_FACTOR}))",
        _constant_rate(rate),
        *track.before,
        small,
        *track.after,
        COLOUR_FILTER,
    ]
    # One thread: x264's choices depend on how many it has.
    encoder = ["-c:v", "libx264", "-preset", "medium", "-crf", str(track.crf), "-threads", "1"]
    arguments = [*_filtered(read_from(reference.path), filters, rate), *encoder, *COLOUR_TAGS]
    path = work / track.name / f"{reference.name}.mp4"
    make_once([reference.path], arguments, path)
    return path


def take_input(source: Path, reference: Reference, track: str, work: Path, num_frames: int) -> Path:
    """Every second frame of the small clip that a set has for a reference, without further loss.

    Pictures as large as the reference, as RealVSR and MVSR4x have them, are made a quarter of the size.

    Args:
        source: A video, or a folder of pictures, whose frame i is the reference's frame i.
        reference: The true clip.
        track: Name of the track.
        work: Folder that keeps what was made.
        num_frames: As the reference was cut.

    Raises:
        UserError: The source cannot be read, or is of another size.
    """
    info = probe(source)
    size = f"{reference.width}:{reference.height}"
    small = f"{reference.width // SCALE}:{reference.height // SCALE}"
    if _is_cut_from(reference, info, SCALE):
        fit = [f"crop={small}:0:0"]
    elif _is_cut_from(reference, info, 1):
        fit = [f"crop={size}:0:0", f"scale={small}:flags=bicubic+accurate_rnd"]
    else:
        raise UserError(
            f"`{source}` is {info.width}x{info.height}, neither a quarter of its reference nor as large",
            hint=f"the reference is {reference.width}x{reference.height}, cut to multiples of 8",
        )
    rate = reference.frame_rate / FPS_FACTOR
    filters = [
        f"trim=end_frame={num_frames}",
        f"select=not(mod(n\\,{FPS_FACTOR}))",
        _constant_rate(rate),
        *fit,
        f"scale=out_range=tv{_matrix(info)}:flags=accurate_rnd+full_chroma_int",
        "format=yuv420p",
        COLOUR_FILTER,
    ]
    encoder = ["-c:v", "libx264", "-preset", "medium", "-crf", "0", "-threads", "1"]
    arguments = [*_filtered(_open(info, work), filters, rate), *encoder, *COLOUR_TAGS]
    path = work / track / f"{reference.name}.mp4"
    make_once(_files(info), arguments, path)
    return path


def make_once(sources: Sequence[Path], arguments: Sequence[str], path: Path) -> None:
    """Let ffmpeg make `path` unless it is there, from these very files with these arguments."""
    stamp = path.with_suffix(".json")
    # Unlike dates, hashes stay the same after a copy or a download.
    recipe = json.dumps([list(arguments), *map(sha256, sources)])
    if path.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == recipe:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # Several evaluations may share a work folder.
    unfinished = path.with_name(f"unfinished-{os.getpid()}-{path.name}")
    try:
        ffmpeg_output([*arguments, file_argument(unfinished)], f"make `{path}` from `{sources[0]}`")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    stamp.write_text(recipe, encoding="utf-8")


def _is_cut_from(reference: Reference, info: VideoInfo, factor: int) -> bool:
    """Whether a clip times `factor` is the reference before it was cut to multiples of 8."""
    pairs = ((reference.width, info.width), (reference.height, info.height))
    return all(cut <= side * factor < cut + SIZE_MULTIPLE + factor - 1 for cut, side in pairs)


def _files(info: VideoInfo) -> Sequence[Path]:
    return info.images or [info.path]


def _open(info: VideoInfo, work: Path) -> list[str]:
    """Arguments that let ffmpeg read a video, or pictures under numbers it can count."""
    if not info.images:
        return read_from(info.path)
    names = "\n".join(str(image.absolute()) for image in info.images)
    folder = work / "pictures" / hashlib.sha256(os.fsencode(names)).hexdigest()[:16]
    suffix = info.images[0].suffix.lower()
    for index, image in enumerate(info.images):
        link = folder / f"{index:08}{suffix}"
        if not link.is_symlink():
            link.parent.mkdir(parents=True, exist_ok=True)
            try:
                link.symlink_to(image.absolute())
            except OSError:  # no links on this file system
                shutil.copyfile(image, link)
    pattern = str(folder).replace("%", "%%") + f"/%08d{suffix}"
    rate = ["-framerate", str(info.frame_rate), "-start_number", "0"]
    return ["-protocol_whitelist", PROTOCOLS, "-f", "image2", *rate, "-i", f"file:{pattern}"]


def _matrix(info: VideoInfo) -> str:
    """For the scale filter: RGB and pictures become bt709; other video keeps the matrix it has."""
    return ":out_color_matrix=bt709" if info.images or info.is_rgb else ""


def _filtered(source: Sequence[str], filters: Sequence[str], rate: Fraction) -> list[str]:
    """Arguments that read one video through filters and leave its times alone."""
    stream = ["-map", "0:v:0", "-an", "-sn", "-dn", "-vf", ",".join(filters)]
    return [*source, *stream, "-r", str(rate), "-fps_mode", "cfr"]


def _constant_rate(rate: Fraction) -> str:
    """Filter that numbers the frames evenly, so that no frame is dropped or doubled later."""
    return f"settb={rate.denominator}/{rate.numerator},setpts=N"
