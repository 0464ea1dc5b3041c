"""The output a user named: a video file or numbered pictures, refused early or published at the end."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from diffst_cli.codecs import VIDEO_SUFFIXES
from diffst_cli.errors import UsageError, UserError
from diffst_cli.probe import VideoInfo
from diffst_cli.probe_images import DEMUXERS

PICTURE_SUFFIX = ".png"
FOLDER_PATTERN = f"%05d{PICTURE_SUFFIX}"  # names of the pictures in an output folder
NUMBER = re.compile(r"%(0(\d+))?d")
MAX_STEM = 100  # characters of the name that a temporary one repeats; names end at 255 bytes


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where the finished output goes."""

    path: Path
    """As the user named it."""
    suffix: str
    """Lower case, with the dot; `.png` for pictures."""
    folder: Path
    """That holds the file or the pictures."""
    pattern: str | None
    """Of the pictures' names, with one `%d` or `%05d`, or a plain name for one; None for a video."""

    def temporary(self, token: str, suffix: str) -> Path:
        """A hidden name beside the output, for what is not finished."""
        return self.path.absolute().with_name(
            f".{self.path.stem[:MAX_STEM]}.diffst-{token}{suffix}"
        )

    @property
    def pictures(self) -> Path | None:
        """Their names, with a `%05d` where there are several; None for a video."""
        return None if self.pattern is None else self.folder / self.pattern

    def picture(self, number: int) -> Path:
        """Final name of picture `number`, from 1."""
        assert self.pattern is not None
        match = NUMBER.search(self.pattern)
        if match is None:
            return self.folder / self.pattern
        digits = f"{number:0{int(match[2] or 0)}d}"
        return self.folder / f"{self.pattern[: match.start()]}{digits}{self.pattern[match.end() :]}"

    def old_pictures(self) -> list[Path]:
        """Pictures already there under names that this output would use."""
        assert self.pattern is not None
        if not self.folder.is_dir():
            return []
        match = NUMBER.search(self.pattern)
        start, end = match.span() if match else (len(self.pattern), len(self.pattern))
        digits = r"\d+" if match else ""
        name = re.escape(self.pattern[:start]) + digits + re.escape(self.pattern[end:])
        return sorted(entry for entry in self.folder.iterdir() if re.fullmatch(name, entry.name))


def choose_target(path: Path, info: VideoInfo, *, overwrite: bool) -> Target:
    """The output named `path`, if it may be written.

    Raises:
        UsageError: It exists, is the input, or is of a kind that cannot be written.
        UserError: Its folder is missing, or nothing can be created there.
    """
    if str(path) == "-":
        raise UsageError("the standard output is no place for a video", hint="name a file")
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise UsageError(f"`{path}` is neither a file nor a folder", hint="name a file")
    target = _parse(path)
    if target.pattern is None:
        _check_file(path, info, overwrite=overwrite)
    else:
        _check_pictures(target, info, overwrite=overwrite)
    parent = target.path.absolute().parent
    if not parent.is_dir():
        raise UserError(f"no folder `{parent}` to write into", hint="make it first")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UserError(f"cannot write into the folder `{parent}`", hint="check its permissions")
    return target


def _parse(path: Path) -> Target:
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return Target(path=path, suffix=suffix, folder=path.parent, pattern=None)
    if suffix == PICTURE_SUFFIX and not path.is_dir():
        return Target(path=path, suffix=suffix, folder=path.parent, pattern=path.name)
    if path.is_dir() or not suffix:
        return Target(path=path, suffix=PICTURE_SUFFIX, folder=path, pattern=FOLDER_PATTERN)
    if suffix in DEMUXERS:
        raise UsageError(
            f"pictures are written as PNG, not `{path.suffix}`",
            hint=f"name a new folder, or `{path.stem}_%05d.png`; for a single picture `{path.stem}.png`",
        )
    raise UsageError(
        f"cannot tell what kind of file `{path}` should be",
        hint=f"end it in {', '.join(VIDEO_SUFFIXES)}; for pictures, name a folder or `x_%05d.png`",
    )


def _check_file(path: Path, info: VideoInfo, *, overwrite: bool) -> None:
    if path.is_dir():
        raise UsageError(f"`{path}` is a folder", hint="give the name of a file to write")
    if path.exists() and any(path.samefile(source) for source in _sources(info)):
        raise UsageError(f"`{path}` is the input itself", hint="give the output another name")
    if os.path.lexists(path) and not overwrite:
        raise UsageError(f"`{path}` already exists", hint="add --overwrite to replace it")


def _check_pictures(target: Target, info: VideoInfo, *, overwrite: bool) -> None:
    assert target.pattern is not None
    if not NUMBER.search(target.pattern) and info.num_frames != 1:
        raise UsageError(
            f"`{target.path}` is one picture, the input is many",
            hint="name a folder, or number the pictures: `x_%05d.png`",
        )
    if len(NUMBER.findall(target.pattern)) > 1:
        raise UsageError(
            f"`{target.path}` has two places for a number", hint="pictures are numbered once"
        )
    old = target.old_pictures()
    sources = _sources(info)
    if any(picture.samefile(source) for picture in old for source in sources):
        raise UsageError(f"`{target.path}` holds the input itself", hint="choose another folder")
    if old and not overwrite:
        raise UsageError(f"`{old[0]}` already exists", hint="add --overwrite to replace it")
    _refuse_others(target, info, old)


def _refuse_others(target: Target, info: VideoInfo, old: list[Path]) -> None:
    """A folder of other things was named to put a video there, as with `cp`, not to fill it with pictures."""
    if target.folder != target.path or not target.folder.is_dir():
        return
    seen = (entry for entry in target.folder.iterdir() if not entry.name.startswith("."))
    others = sorted(entry for entry in seen if entry not in old)
    if others:
        raise UsageError(
            f"the folder `{target.path}` holds other things, as `{others[0].name}`",
            hint=f"name a file in it, `{target.path / info.path.name}`, or a new folder for pictures",
        )


def _sources(info: VideoInfo) -> tuple[Path, ...]:
    return tuple(path for path in (info.images or (info.path,)) if path.exists())


def publish_file(finished: Path, target: Target, *, overwrite: bool) -> None:
    """Give the finished file its name.

    Raises:
        UserError: A file of that name appeared meanwhile, or the folder was closed.
    """
    if not overwrite and os.path.lexists(target.path):
        raise _appeared(target.path)
    try:
        finished.replace(target.path)
    except OSError as error:
        raise _cannot_name(target.path, error) from error


def publish_pictures(finished: Path, target: Target, *, overwrite: bool) -> None:
    """Move the finished pictures, all of them in the folder `finished`, to their names.

    Raises:
        UserError: Some appeared meanwhile, or the folder was closed.
    """
    pictures = sorted(finished.iterdir())
    old = target.old_pictures()
    if old and not overwrite:
        raise _appeared(old[0])
    try:
        if target.folder == target.path and not target.folder.exists():
            for number, picture in enumerate(pictures, start=1):
                picture.rename(finished / target.picture(number).name)
            finished.rename(target.folder)
            return
        for picture in old:
            picture.unlink()
        for number, picture in enumerate(pictures, start=1):
            picture.replace(target.picture(number))
    except OSError as error:
        raise _cannot_name(target.path, error) from error


def remove(path: Path) -> None:
    """Remove a temporary file or folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _appeared(path: Path) -> UserError:
    return UserError(f"`{path}` appeared meanwhile", hint="add --overwrite to replace it")


def _cannot_name(path: Path, error: OSError) -> UserError:
    return UserError(f"cannot name the result `{path}`: {error.strerror}")
