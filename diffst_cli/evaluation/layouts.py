"""Which clips a folder of references has: videos, folders of pictures, or a published test set.

Sets are laid out as their authors, or the toolboxes that most papers use, give them out: UDM10, SPMCS, YouHQ40
and VideoLQ as of DOVE; Vid4 and UDM10 as of MMagic, BasicSR and VRT; UDM10 as of PFNL; REDS; RealVSR; MVSR4x
as of EAVSR; Vimeo-90K's septuplets.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from diffst_cli.errors import UserError
from diffst_cli.suffixes import INPUT_SUFFIXES

PICTURE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff"})

# Tracks that are a set's own small clips.
OWN_TRACKS = {
    "lq": "the set's own inputs: filmed, or damaged by its authors",
    "bi": "the set's own bicubic inputs",
    "bd": "the set's own blurred and downsampled inputs",
}


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One reference, and the inputs that its set has for it."""

    name: str
    """Name of its file or folder; of both levels for Vimeo-90K."""
    source: Path
    """A video, or a folder of pictures."""
    inputs: Mapping[str, Path] = field(default_factory=dict)
    """By track, likewise."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where a set keeps its references and inputs, below its folder."""

    reference: str
    """Folder of references."""
    inputs: tuple[tuple[str, str], ...]
    """Track and folder of inputs; those that are there count."""
    clip_list: str | None = None
    """Text file with the clips of the test part, a relative folder a line; None takes all."""


# The first that fits; test parts come before whole sets.
LAYOUTS = (
    Layout(reference="HR_test", inputs=(("lq", "LR_test"),)),
    Layout(reference="GT_test", inputs=(("lq", "LQ_test"),)),
    Layout(
        reference="GT",
        inputs=(("lq", "LQ"), ("bi", "BIx4"), ("bd", "BDx4"), ("bi", "sharp_bicubic")),
    ),
    Layout(reference="GT-Video", inputs=(("lq", "LQ-Video"),)),
    Layout(reference="tele", inputs=(("lq", "wide"),)),
    Layout(reference="val/val_sharp", inputs=(("bi", "val/val_sharp_bicubic/X4"),)),
    Layout(reference="val_sharp", inputs=(("bi", "val_sharp_bicubic/X4"),)),
    Layout(
        reference="vimeo_septuplet/sequences",
        inputs=(
            ("bi", "vimeo_septuplet_matlabLRx4/sequences"),
            ("bd", "vimeo_septuplet_BDLRx4/sequences"),
        ),
        clip_list="vimeo_septuplet/sep_testlist.txt",
    ),
    Layout(
        reference="sequences",
        inputs=(
            ("bi", "../vimeo_septuplet_matlabLRx4/sequences"),
            ("bd", "../vimeo_septuplet_BDLRx4/sequences"),
        ),
        clip_list="sep_testlist.txt",
    ),
)
INSIDE_CLIP = ("truth", (("bd", "blur4"),))  # UDM10 of PFNL: both below each clip


def find_set(folder: Path) -> list[Clip]:
    """The clips of a folder: of a set that is known, else its videos and folders of pictures.

    Raises:
        UserError: It is not a folder, has no clip, or has two of one name.
    """
    if not folder.is_dir():
        raise UserError(f"`{folder}` is not a folder", hint="give a folder of reference videos")
    layout = next((known for known in LAYOUTS if (folder / known.reference).is_dir()), None)
    if layout is not None:
        clips = _clips_of(folder, layout)
    else:
        clips = _clips_with_both_inside(folder) or [
            Clip(name=name, source=path) for name, path in find_members(folder).items()
        ]
    if not clips:
        raise UserError(
            f"no video and no folder of pictures in `{folder}`",
            hint=f"looked for {', '.join(sorted(INPUT_SUFFIXES | PICTURE_SUFFIXES))}",
        )
    return clips


def find_members(folder: Path) -> dict[str, Path]:
    """Videos and folders of pictures directly inside `folder`, in the order of their names; no hidden ones.

    Raises:
        UserError: Two have one name.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.suffix.lower() in INPUT_SUFFIXES and path.is_file():
            name = path.stem
        elif _has_pictures(path):
            name = path.name
        else:
            continue
        if name in found:
            raise UserError(f"`{folder}` has more than one clip called `{name}`")
        found[name] = path
    return found


def _has_pictures(path: Path) -> bool:
    return path.is_dir() and any(
        inside.suffix.lower() in PICTURE_SUFFIXES and not inside.name.startswith(".")
        for inside in path.iterdir()
    )


def _clips_of(folder: Path, layout: Layout) -> list[Clip]:
    """The clips of a known set; an input that is missing for a clip is left out."""
    references = folder / layout.reference
    listed = None if layout.clip_list is None else folder / layout.clip_list
    if listed is None:
        sources = find_members(references)
    else:
        sources = {name.replace("/", "_"): references / name for name in _read_list(listed)}
    clips = []
    for name, source in sources.items():
        inputs: dict[str, Path] = {}
        for track, place in layout.inputs:
            own = _like(folder / place, source.relative_to(references))
            if own is not None:
                inputs.setdefault(track, own)
        clips.append(Clip(name=name, source=source, inputs=inputs))
    return clips


def _like(folder: Path, name: Path) -> Path | None:
    """The clip in `folder` with the same relative name, whatever its suffix; None if there is none."""
    exact = folder / name
    if exact.exists():
        return exact
    return find_members(folder).get(name.stem) if folder.is_dir() else None


def _read_list(path: Path) -> list[str]:
    """The lines of a list of clips.

    Raises:
        UserError: It cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(
            f"cannot read `{path}`, the list of the set's test clips: {error.strerror}",
            hint="it comes with the set; or give a folder that has only the clips to measure",
        ) from error
    return [line.strip() for line in lines if line.strip()]


def _clips_with_both_inside(folder: Path) -> list[Clip]:
    """Clips that have references and inputs below their own folder."""
    truth, inputs = INSIDE_CLIP
    return [
        Clip(
            name=path.name,
            source=path / truth,
            inputs={track: path / place for track, place in inputs if _has_pictures(path / place)},
        )
        for path in sorted(folder.iterdir())
        if _has_pictures(path / truth)
    ]
