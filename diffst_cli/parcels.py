"""What goes through Ray's object store to a machine that does not share our files, and back: inputs and pieces."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from diffst_cli.recipe import fingerprint
from diffst_cli.worker import Finished, Task

CHUNK_BYTES = (
    2**26
)  # of the input in one object; the store moves those that it has no room for to disk
KEPT_INPUTS = 4  # in the store, of a batch whose workers are at several


@dataclass(frozen=True)
class Letter:
    """A task, and how a machine tells whether it sees the files that are meant."""

    task: Task
    mark: str
    """Name of an empty file in the task's folder, used once."""
    fingerprint: str | None
    """Of the input; None where that is several pictures, which are not sent."""

    def shows_folder(self) -> bool:
        """Whether this machine sees the task's folder."""
        return (self.task.folder / self.mark).is_file()

    def shows_input(self) -> bool:
        """Whether this machine sees the input; pictures where it sees the folder."""
        if self.fingerprint is None:
            return self.shows_folder()
        try:
            return fingerprint((self.task.job.input,)) == self.fingerprint
        except OSError:
            return False


@dataclass(frozen=True)
class Apart:
    """The machine does not see all our files, and keeps some of its own."""

    wants_input: bool


@dataclass(frozen=True)
class Parcel:
    """A finished piece of a machine that does not see our folder."""

    finished: Finished
    content: bytes


_putting = threading.Lock()


def put_input(path: Path, digest: str) -> list[object]:
    """References to the chunks of a file, put in the store once for all workers; of the last few files only."""
    with _putting:
        return _put_input(path, digest)


@functools.lru_cache(KEPT_INPUTS)  # what is forgotten is no longer held in the store
def _put_input(path: Path, _digest: str) -> list[object]:
    import ray

    return [ray.put(chunk) for chunk in _chunks(path)]


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def take_input(references: Iterable[object], path: Path) -> None:
    """Write the file that is in the store."""
    import ray

    with path.open("wb") as file:
        for reference in references:
            file.write(ray.get(reference))
