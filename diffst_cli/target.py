"""The output a user named: a video file or numbered pictures, refused early or published at the end."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from diffst_cli.codecs import VIDEO_SUFFIXES
from diffst_cli.errors import UsageError, UserError
from diffst_cli.probe import VideoInfo
from diffst_cli.probe_images import DEMUXERS

PICTURE_SUFFIX = ".png"
FOLDER_PATTERN = f"%05d{PICTURE_SUFFIX}"  # names of the pictures in an output folder
NUMBER = re.compile(r"%(0(\d+))?d")
NOT_SYNCED = (errno.EACCES, errno.EINVAL, errno.ENOTSUP)  # where a file system does no such thing
MAX_STEM = 100  # bytes of the name that a temporary one repeats; names end at 255


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

    @property
    def place(self) -> Path:
        """Folder for what is not finished: in the output's own where that is there, else beside it.

        A folder of pictures may be a link or a disk of its own, and nothing moves from one to another at once.
        """
        if self.pattern is not None and self.folder.is_dir():
            return self.folder.absolute()
        return self.file.absolute().parent

    @property
    def file(self) -> Path:
        """What is written: for a link the file that it leads to, as reports have it."""
        is_link = self.pattern is None and self.path.is_symlink()
        return Path(os.path.realpath(self.path)) if is_link else self.path

    def temporary(self, token: str, suffix: str) -> Path:
        """A hidden name in `place`, for what is not finished."""
        return self.place / f"{hidden_prefix(self.path)}{token}{suffix}"

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
        """Pictures already there under names that this output would use for one of its own, whatever its length."""
        assert self.pattern is not None
        if not self.folder.is_dir():
            return []
        match = NUMBER.search(self.pattern)
        if match is None:
            return [path for path in (self.picture(1),) if os.path.lexists(path)]
        before, after = self.pattern[: match.start()], self.pattern[match.end() :]
        name = re.compile(rf"{re.escape(before)}(\d+){re.escape(after)}")
        found = ((entry, name.fullmatch(entry.name)) for entry in self.folder.iterdir())
        numbered = ((entry, int(number[1])) for entry, number in found if number)
        return sorted(
            entry for entry, number in numbered if number > 0 and entry == self.picture(number)
        )


def hidden_prefix(path: Path) -> str:
    """What begins the names of all that is not finished of the output `path`."""
    stem = path.absolute().stem  # of `.` too
    while len(os.fsencode(stem)) > MAX_STEM:
        stem = stem[:-1]
    return f".{stem}.diffst-"


def choose_target(
    path: Path, info: VideoInfo, *, overwrite: bool, is_folder: bool = False
) -> Target:
    """The output named `path`, if it may be written; a folder of pictures if `is_folder`.

    Raises:
        UsageError: It exists, is the input, or is of a kind that cannot be written.
        UserError: Its folder is missing, or nothing can be created there.
    """
    if str(path) == "-":
        raise UsageError("the standard output is no place for a video", hint="name a file")
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise UsageError(f"`{path}` is neither a file nor a folder", hint="name a file")
    target = _folder(path) if is_folder else _parse(path)
    if target.pattern is None:
        _check_file(path, info, overwrite=overwrite)
    else:
        _check_pictures(target, info, overwrite=overwrite)
    place = target.place
    if not place.is_dir():
        raise UserError(f"no folder `{place}` to write into", hint="make it first")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UserError(f"cannot write into the folder `{place}`", hint="check its permissions")
    return target


def _parse(path: Path) -> Target:
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return Target(path=path, suffix=suffix, folder=path.parent, pattern=None)
    if suffix == PICTURE_SUFFIX and not path.is_dir():
        return Target(path=path, suffix=suffix, folder=path.parent, pattern=path.name)
    if path.is_dir() or not suffix:
        return _folder(path)
    if suffix in DEMUXERS:
        raise UsageError(
            f"pictures are written as PNG, not `{path.suffix}`",
            hint=f"name a new folder, or `{path.stem}_%05d.png`; for a single picture `{path.stem}.png`",
        )
    raise UsageError(
        f"cannot tell what kind of file `{path}` should be",
        hint=f"end it in {', '.join(VIDEO_SUFFIXES)}; for pictures, name a folder, as `x/`, or `x_%05d.png`",
    )


def _folder(path: Path) -> Target:
    return Target(path=path, suffix=PICTURE_SUFFIX, folder=path, pattern=FOLDER_PATTERN)


def _check_file(path: Path, info: VideoInfo, *, overwrite: bool) -> None:
    if path.is_dir():
        raise UsageError(f"`{path}` is a folder", hint="give the name of a file to write")
    if _hold_source((path,), info):
        raise UsageError(f"`{path}` is the input itself", hint="give the output another name")
    if os.path.lexists(path) and not overwrite:
        raise UsageError(f"`{path}` already exists", hint="add --overwrite to replace it")


def _check_pictures(target: Target, info: VideoInfo, *, overwrite: bool) -> None:
    assert target.pattern is not None
    if target.folder == target.path and os.path.lexists(target.path) and not target.path.is_dir():
        raise UsageError(
            f"`{target.path}` is there and is no folder", hint="name a new folder for pictures"
        )
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
    if _hold_source(old, info):
        raise UsageError(f"`{target.path}` holds the input itself", hint="choose another folder")
    if old and not overwrite:
        raise UsageError(f"`{old[0]}` already exists", hint="add --overwrite to replace it")
    _refuse_others(target, info, old)


def _refuse_others(target: Target, info: VideoInfo, old: list[Path]) -> None:
    """A folder of other things was named to put a video there, as with `cp`, not to fill it with pictures."""
    if target.folder != target.path or not target.folder.is_dir():
        return
    seen = {entry for entry in target.folder.iterdir() if not entry.name.startswith(".")}
    others = sorted(seen.difference(old))
    if info.images and _hold_source(others, info):
        raise UsageError(f"`{target.path}` holds the input itself", hint="choose another folder")
    if others:
        file = "" if info.images else f"a file in it, `{target.path / info.path.name}`, or "
        raise UsageError(
            f"the folder `{target.path}` holds other things, as `{others[0].name}`",
            hint=f"name {file}a new folder for pictures",
        )


def _hold_source(paths: Iterable[Path], info: VideoInfo) -> bool:
    """Whether a file that the input is read from is among `paths`, by whatever name."""
    own = _identities(paths)
    return bool(own) and not own.isdisjoint(_identities(info.images or (info.path,)))


def _identities(paths: Iterable[Path]) -> set[tuple[int, int]]:
    """Device and inode of each file that is there; a set, as comparing each with each takes minutes for thousands."""
    found = set()
    for path in paths:
        with suppress(OSError):
            status = path.stat()
            found.add((status.st_dev, status.st_ino))
    return found


def publish_file(finished: Path, target: Target, *, overwrite: bool) -> None:
    """Give the finished file its name; then it is on the disk, whatever happens to the machine.

    On macOS, where `fsync` does not wait for the disk's own cache, a power cut may still lose it.

    Raises:
        UserError: A file of that name appeared meanwhile, the folder was closed, or the disk failed.
    """
    if not overwrite and os.path.lexists(target.path):
        raise _appeared(target.path)
    try:
        _sync(finished)
        finished.replace(target.file)
        _sync_names(target.place)
    except OSError as error:
        raise _cannot_name(target.path, error) from error


def publish_pictures(finished: Path, target: Target, *, overwrite: bool) -> None:
    """Move the finished pictures, all of them in the folder `finished`, to their names; then they are on the disk.

    Raises:
        UserError: Some appeared meanwhile, the folder was closed, or the disk failed.
    """
    pictures = sorted(finished.iterdir())
    names = [target.picture(number) for number in range(1, len(pictures) + 1)]
    old = target.old_pictures()
    if old and not overwrite:
        raise _appeared(old[0])
    try:
        for picture in pictures:
            _sync(picture)
        if target.folder == target.path and not target.folder.exists():
            for picture, name in zip(pictures, names, strict=True):
                picture.rename(finished / name.name)
            _sync_names(finished)
            parent = target.place
            finished.rename(target.folder)
            _sync_names(parent)
            return
        for picture, name in zip(pictures, names, strict=True):
            picture.replace(name)
        for picture in set(old).difference(names):
            picture.unlink()
        _sync_names(target.folder)
    except OSError as error:
        raise _cannot_name(target.path, error) from error


def _sync_names(folder: Path) -> None:
    """Have the disk hold the names in a folder; where it cannot, the files are good and have theirs all the same."""
    with suppress(OSError):
        _sync(folder)


def _sync(path: Path) -> None:
    """Have the disk hold a file, since the pieces it was made of are removed next.

    Raises:
        OSError: The disk is full or failed.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in NOT_SYNCED:
            raise


def leads_to_itself(path: Path) -> bool:
    """Whether links on the way to `path` go round in a circle, which `exists` calls not there."""
    try:
        path.stat()
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


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
