"""Reference clips and the degraded inputs made from them: the protocol of `diffst evaluate`.

Everything stays in the YUV of the source, so that no colour conversion enters the comparison.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from diffst_cli.errors import UserError
from diffst_cli.measuring import read_from, run_ffmpeg
from diffst_cli.probe import probe

SCALE = 4  # reference size over degraded size
FPS_FACTOR = 2  # reference frame rate over degraded frame rate
SIZE_MULTIPLE = SCALE * 2  # the degraded clip is 4:2:0, so even both ways
NOISE_SEED = 20260
DIGEST_BLOCK = 1 << 20  # bytes read at a time
VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm", ".y4m"})

COLOUR_FILTER = (
    "setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709:field_mode=prog"
)
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
    frame_rate: Fraction
    """Frames per second."""


def find_clips(folder: Path) -> list[Path]:
    """Videos directly inside `folder`, by name.

    Raises:
        UserError: It is not a folder, has no video, or has two of one name.
    """
    if not folder.is_dir():
        raise UserError(f"`{folder}` is not a folder", hint="give a folder of reference videos")
    clips = sorted(path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES)
    if not clips:
        raise UserError(f"no video in `{folder}`", hint=f"looked for {_suffix_list()}")
    names = [path.stem for path in clips]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"`{folder}` has more than one video called `{name}`")
    return clips


def make_reference(source: Path, work: Path, num_frames: int) -> Reference:
    """Cut `source` to its first frames, crop it to multiples of 8, store it without loss.

    Args:
        source: A video file.
        work: Folder that keeps what was made; a second call finds it there.
        num_frames: At most this many frames.

    Raises:
        UserError: The source cannot be read, or is smaller than 64 pixels either way.
    """
    info = probe(source)
    width, height = (side // SIZE_MULTIPLE * SIZE_MULTIPLE for side in (info.width, info.height))
    if min(width, height) < 64:
        raise UserError(f"`{source}` is too small to measure: {info.width}x{info.height}")
    path = work / "reference" / f"{source.stem}.nut"
    filters = [
        f"trim=end_frame={num_frames}",
        _constant_rate(info.frame_rate),
        f"crop={width}:{height}:0:0",
        "scale=out_range=tv:flags=accurate_rnd+full_chroma_int",
        "format=yuv420p",
        "setsar=1",
        COLOUR_FILTER,
    ]
    arguments = _filtered(source, filters, info.frame_rate)
    make_once(source, [*arguments, "-c:v", "ffv1", *COLOUR_TAGS], path)
    return Reference(
        name=source.stem, path=path, width=width, height=height, frame_rate=info.frame_rate
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
    arguments = [*_filtered(reference.path, filters, rate), *encoder, *COLOUR_TAGS]
    path = work / track.name / f"{reference.name}.mp4"
    make_once(reference.path, arguments, path)
    return path


def make_once(source: Path, arguments: Sequence[str], path: Path) -> None:
    """Let ffmpeg make `path` unless it is there, from this very source with these arguments."""
    stamp = path.with_suffix(".json")
    recipe = json.dumps([list(arguments), file_digest(source)])
    if path.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == recipe:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # Several evaluations may share a work folder.
    unfinished = path.with_name(f"unfinished-{os.getpid()}-{path.name}")
    try:
        run_ffmpeg([*arguments, str(unfinished)], f"make `{path}` from `{source}`")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    stamp.write_text(recipe, encoding="utf-8")


def file_digest(path: Path) -> str:
    """SHA-256 of what is in the file: unlike its date, the same after a copy or a download."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(DIGEST_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _filtered(source: Path, filters: Sequence[str], rate: Fraction) -> list[str]:
    """Arguments that read one video through filters and leave its times alone."""
    stream = ["-map", "0:v:0", "-an", "-sn", "-dn", "-vf", ",".join(filters)]
    return [*read_from(source), *stream, "-r", str(rate), "-fps_mode", "cfr"]


def _constant_rate(rate: Fraction) -> str:
    """Filter that numbers the frames evenly, so that no frame is dropped or doubled later."""
    return f"settb={rate.denominator}/{rate.numerator},setpts=N"


def _suffix_list() -> str:
    return ", ".join(sorted(VIDEO_SUFFIXES))
