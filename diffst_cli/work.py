"""The unfinished work of one output: a folder that holds its finished pieces and the manifest of them.

The same command finds it again and goes on. One process at a time owns it.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from diffst_cli.clips import ClipRules
from diffst_cli.errors import UserError
from diffst_cli.manifest import Manifest, ManifestError, Scanned, read_manifest, write_manifest
from diffst_cli.pieces import PART, Piece, PieceSettings, hash_piece
from diffst_cli.recipe import recipe_hash
from diffst_cli.segments import Segment
from diffst_cli.target import hidden_prefix, remove
from diffst_cli.words import counted

MANIFEST = "manifest.json"
PLAYLIST = "watch.m3u"  # of the pieces from the first on, for a player
LOCK = "lock"
MAX_TRIES = 100  # to lock a folder that other runs remove and make


class Work:
    """What is planned and what is finished, in memory and on disk; safe to use from several threads.

    Use as a context manager: leaving it lets go of the folder, and removes it if nothing in it is
    worth keeping.
    """

    def __init__(
        self, parent: Path, output: Path, recipe: Mapping[str, str], settings: PieceSettings
    ) -> None:
        """Open the work of `output` under `parent`, made anew if there is none.

        Raises:
            UserError: Another process is at it, or the folder cannot be used.
        """
        prefix = hidden_prefix(output)
        self.folder = parent.absolute() / f"{prefix}{recipe_hash(recipe)}"
        # Pictures are made beside their folder while it is not there, and in it once it is.
        places = {parent.absolute(), output.absolute().parent}
        self.others = tuple(
            path
            for place in sorted(places)
            for path in _siblings(place, prefix)
            if path != self.folder and _output_of(path) == recipe["output"]
        )
        """Folders of the same output's work with other settings, or of another input."""
        self.rules: ClipRules | None = None
        """How clips are cut; None until it is decided."""
        self.way: str | None = None
        """How they are made, in the words of a `Rung`; None until it is decided."""
        self.trouble: str | None = None
        """Why work that was there could not be used, one sentence."""
        self.recipe = dict(recipe)
        self._settings = settings
        self._changed = threading.Condition()
        self._segments: list[Segment] = []
        self._found_before: tuple[Segment, ...] = ()
        self._pieces: dict[int, Piece] = {}
        self._scanned: Scanned | None = None
        self._error: BaseException | None = None
        self._is_looked_through = False  # so that it is known what an earlier run left
        self._lock = self._open()

    def _open(self) -> IO[bytes]:
        """The lock of the folder, which is made if there is none."""
        if self.folder.is_symlink():
            raise UserError(f"`{self.folder}` is a link", hint="remove it")
        try:
            for _ in range(MAX_TRIES):
                self.folder.mkdir(exist_ok=True)
                with suppress(FileNotFoundError):  # removed since, by a run that ended
                    lock = self._take_lock()
                    if _is_at(lock, self.folder / LOCK):
                        self._require_own(lock)
                        return lock
                    lock.close()
        except OSError as error:
            raise UserError(f"cannot use the folder `{self.folder}`: {error.strerror}") from error
        raise UserError(f"the folder `{self.folder}` vanishes", hint="run it again")

    def _require_own(self, lock: IO[bytes]) -> None:
        """Refuse a folder that another user laid out, who chose what is in it and where its links lead."""
        # Not `geteuid`: some file systems name another owner for all that one makes there.
        with tempfile.TemporaryFile(dir=self.folder) as ours:
            own = os.fstat(ours.fileno()).st_uid
        if self.folder.stat().st_uid != own:
            lock.close()
            raise UserError(
                f"`{self.folder}` belongs to another user",
                hint="remove it, or write the output into a folder of your own",
            )

    def _take_lock(self) -> IO[bytes]:
        lock = open(self.folder / LOCK, "r+b", buffering=0, opener=_open_own)  # noqa: SIM115
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.close()
            raise UserError(
                f"another diffst is at work in `{self.folder}`", hint="wait until it is done"
            ) from error
        except OSError:  # no locks on this file system
            pass
        return lock

    def resume(self) -> int:
        """Take up what an earlier run left; how many output frames of it are good."""
        good = self._take_up()
        self._is_looked_through = True
        return good

    def _take_up(self) -> int:
        for path in self.folder.glob(f"{PART}*"):
            remove(path)
        try:
            manifest = read_manifest(self.folder / MANIFEST)
        except FileNotFoundError:
            return 0
        except ManifestError as error:
            self.trouble = f"the record of earlier work in `{self.folder}` is damaged: {error}"
            return 0
        self.rules, self.way = manifest.rules, manifest.way
        self._pieces = {
            index: piece for index, piece in manifest.pieces.items() if self._is_whole(piece)
        }
        self._scanned = manifest.scanned
        if manifest.scanned is None:
            self._found_before = manifest.segments
        else:
            self._segments = list(manifest.segments)
        return sum(piece.num_frames for piece in self._pieces.values())

    def _is_whole(self, piece: Piece) -> bool:
        try:
            return hash_piece(self.folder / self._settings.name(piece.index)) == piece.sha256
        except OSError:
            return False

    @property
    def scanned(self) -> Scanned | None:
        """What looking through the whole input told; None while it goes on."""
        return self._scanned

    @property
    def num_planned(self) -> int:
        """Output frames of all segments found so far."""
        with self._changed:
            return self._segments[-1].stop if self._segments else 0

    @property
    def num_finished(self) -> int:
        """Output frames of all finished pieces."""
        with self._changed:
            return sum(piece.num_frames for piece in self._pieces.values())

    def add(self, segment: Segment) -> None:
        """Plan the next segment; an earlier run's piece stays only if its segment was the same."""
        with self._changed:
            before = self._found_before[segment.index :][:1]
            if before != (segment,):
                self._pieces.pop(segment.index, None)
            self._segments.append(segment)
            self._changed.notify_all()

    def end_scan(self, scanned: Scanned) -> None:
        """Say that the plan is complete."""
        with self._changed:
            self._scanned = scanned
            self._save()
            self._changed.notify_all()

    def fail_scan(self, error: BaseException) -> None:
        """Say that the plan will not be completed; `planned` raises `error`."""
        with self._changed:
            self._error = error
            self._changed.notify_all()

    def planned(self) -> Iterator[Segment]:
        """All segments, each as soon as it is found.

        Raises:
            BaseException: What `fail_scan` was given.
        """
        for number in itertools.count():
            segment = self._wait_for(number)
            if segment is None:
                return
            yield segment

    def _wait_for(self, number: int) -> Segment | None:
        """Segment `number`, as soon as it is found; None when there are fewer."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._error or self._scanned or number < len(self._segments)
            )
            if self._error is not None:
                raise self._error
            return self._segments[number] if number < len(self._segments) else None

    def has(self, segment: Segment) -> bool:
        """Whether the segment's piece is finished."""
        with self._changed:
            return segment.index in self._pieces

    def record(self, piece: Piece) -> None:
        """Remember a finished piece, on disk too."""
        with self._changed:
            self._pieces[piece.index] = piece
            self._save()
            names = [self._settings.name(index) for index in sorted(self._pieces)]
            (self.folder / PLAYLIST).write_text("".join(f"{name}\n" for name in names), "utf-8")

    def pieces(self) -> list[Piece]:
        """All finished pieces, in order."""
        with self._changed:
            return [piece for _, piece in sorted(self._pieces.items())]

    def contents(self) -> str:
        """What is finished, in words."""
        return counted(sum(piece.num_frames for piece in self.pieces()), "finished frame")

    def discard(self) -> None:
        """Forget everything, on disk too."""
        self._empty()
        self.rules, self.way, self.trouble = None, None, None
        self._segments, self._found_before, self._pieces = [], (), {}
        self._scanned = None

    def _empty(self) -> None:
        for path in self.folder.iterdir():
            if path.name != LOCK:
                remove(path)

    def _save(self) -> None:
        assert self.rules is not None
        assert self.way is not None
        segments = tuple(self._segments)
        if len(segments) < len(self._found_before):  # not looked at again yet, but not forgotten
            segments += self._found_before[len(segments) :]
        manifest = Manifest(
            recipe=self.recipe,
            rules=self.rules,
            way=self.way,
            segments=segments,
            pieces=self._pieces,
            scanned=self._scanned,
        )
        write_manifest(self.folder / MANIFEST, manifest)

    @property
    def is_worthless(self) -> bool:
        """Whether the folder holds no finished piece, nor may hold one of an earlier run."""
        known = self._is_looked_through or not (self.folder / MANIFEST).exists()
        return known and not self._pieces

    def lost_folder(self, place: Path) -> Path | None:
        """Which folder somebody removed: `place`, where the output goes, the one around this or this; else None."""
        if self._lock.closed:  # it may be gone as it should
            return None
        used = (place, self.folder.parent, self.folder)
        return next((folder for folder in used if not folder.is_dir()), None)

    def close(self) -> None:
        """Let go of the folder, and remove it if nothing in it is worth keeping."""
        if self._lock.closed:  # removed already; one of that name is another run's
            return
        if self.is_worthless:
            self.remove()
        self._lock.close()

    def remove(self) -> None:
        """Remove the folder and all that is in it, and let go of it."""
        with suppress(OSError):
            self._empty()  # first, as whoever comes after the lock has gone may take what is there
        shutil.rmtree(self.folder, ignore_errors=True)
        self._pieces = {}
        self._lock.close()

    def __enter__(self) -> Work:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open_own(path: str, flags: int) -> int:
    """Open a file, made if need be; no link, as that might lead to anybody's file."""
    return os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW, 0o666)


def _is_at(file: IO[bytes], path: Path) -> bool:
    """Whether `path` still names an open file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _siblings(parent: Path, prefix: str) -> list[Path]:
    """Folders under `parent` whose names begin alike and that hold a manifest."""
    return [
        path
        for path in sorted(parent.iterdir())
        if path.name.startswith(prefix) and (path / MANIFEST).is_file()
    ]


def _output_of(folder: Path) -> str | None:
    """The output of the work in a folder; None where that is not told."""
    try:
        return read_manifest(folder / MANIFEST).recipe.get("output")
    except (ManifestError, OSError):
        return None


def changes(before: Path, recipe: Mapping[str, str]) -> list[str]:
    """Names of what differs between the work in the folder `before` and `recipe`."""
    try:
        earlier = read_manifest(before / MANIFEST).recipe
    except (ManifestError, OSError):
        return []
    return sorted(name for name in recipe if earlier.get(name) != recipe[name])
