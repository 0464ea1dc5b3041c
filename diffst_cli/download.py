"""Fetching public models: sizes and hashes first, then each file, going on where it was broken off."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from diffst.folders import model_folder
from diffst.star.names import ENCODER_FOLDER, INSTALL_ENCODERS
from diffst_cli.errors import UserError
from diffst_cli.hashing import sha256
from diffst_cli.model_files import HUB, LICENCE_NAMES, Download, RemoteFile, Repository
from diffst_cli.words import gigabytes

RECORD_FILE = "download.json"  # in the model's folder: what was fetched, from where, its hashes
LICENCE_FOLDER = "licences"
PART_SUFFIX = ".part"  # of a file that is not complete
SPARE_BYTES = 500 * 10**6  # to be left on the disk


@dataclass(frozen=True, kw_only=True)
class Item:
    """One file to have in the model's folder."""

    repository: Repository
    file: RemoteFile
    place: Path
    size: int
    sha256: str | None
    """As published or as the hub says; None where neither does, as for small text files."""

    @property
    def part(self) -> Path:
        """Where it grows."""
        return self.place.with_name(self.place.name + PART_SUFFIX)

    @property
    def missing_bytes(self) -> int:
        """What is still to come."""
        if self.place.is_file():
            return 0
        return max(self.size - (self.part.stat().st_size if self.part.is_file() else 0), 0)


def pull(download: Download, say: Callable[[str], None]) -> Path:
    """Have every file of a model, whole and of the right hash; gives its folder.

    Args:
        download: Which.
        say: Told what comes, its licences first, one sentence each.

    Raises:
        UserError: The hub cannot be reached, refuses, or sent something else; the disk is full.
            What was fetched stays, and the next call goes on from there.
    """
    folder = model_folder(download.name)
    for line in announcement(download, folder):
        say(line)
    record = read_record(folder)
    if is_complete(download, folder) and record:
        say(f"`{download.name}` is here already: `{folder}`")
        return folder
    with _hub_errors(download, folder):
        items = [item for source in download.repositories for item in _listed(source, folder)]
        _check_disk(download, items, folder, say)
        # Small ones first: a repository that asks to accept its licence says so before gigabytes of another's come.
        for item in sorted(items, key=lambda item: item.size):
            _fetch(item, say)
    write_record(folder, download, items)
    say(f"`{download.name}` is complete: `{folder}`")
    if (folder / ENCODER_FOLDER).is_dir() and find_spec("transformers") is None:
        say(f"it reads prompts with packages that are not here yet: {INSTALL_ENCODERS}")
    return folder


def announcement(download: Download, folder: Path) -> Iterator[str]:
    """What is going to be fetched, and under what licences."""
    yield f"{download.name}: {download.description}, about {gigabytes(download.about_bytes)}"
    for source in download.repositories:
        yield f"  from {source.page}, licence: {source.licence}"
    yield f"  into `{folder}`"


def is_complete(download: Download, folder: Path) -> bool:
    """Whether every file is in its place."""
    return all((folder / file.place).is_file() for s in download.repositories for file in s.files)


def by_hand(download: Download, folder: Path) -> Iterator[str]:
    """How to get the files without this program, line by line."""
    yield "to fetch it by hand, put these files there, on another machine if need be:"
    for source in download.repositories:
        for file in source.files:
            yield f"  {source.address(file)}\n    -> {folder / file.place}"
    yield f"then `diffst models verify {download.name}` checks them and keeps their hashes"


def _endpoint() -> str:
    """The hub, or the mirror that `HF_ENDPOINT` names."""
    return os.environ.get("HF_ENDPOINT", HUB).rstrip("/")


def _listed(source: Repository, folder: Path) -> list[Item]:
    """A repository's files with their sizes and hashes, those with its licence too."""
    from huggingface_hub import HfApi

    extras = tuple(
        RemoteFile(path=name, place=f"{LICENCE_FOLDER}/{source.name.replace('/', '--')}/{name}")
        for name in LICENCE_NAMES
    )
    wanted = {file.path: file for file in (*source.files, *extras)}
    found = HfApi(endpoint=_endpoint()).get_paths_info(
        source.name, list(wanted), revision=source.revision
    )
    known = {entry.path: entry for entry in found}
    lost = [file.path for file in source.files if file.path not in known]
    if lost:
        raise UserError(f"`{lost[0]}` is no longer in {source.page}", hint="report it, please")
    return [
        _item(source, wanted[path], entry, folder)
        for path, entry in known.items()
        if path in wanted
    ]


def _item(source: Repository, file: RemoteFile, entry: Any, folder: Path) -> Item:
    """One file as the hub has it, which must be as published."""
    told = entry.lfs.sha256 if entry.lfs is not None else None
    differs = (file.size is not None and entry.size != file.size) or (
        file.sha256 is not None and told is not None and told != file.sha256
    )
    if differs:
        raise UserError(
            f"`{file.path}` in {source.page} is not the file that diffst knows",
            hint="a mirror may be out of date: unset `HF_ENDPOINT`, or report it",
        )
    return Item(
        repository=source,
        file=file,
        place=folder / file.place,
        size=entry.size,
        sha256=file.sha256 or told,
    )


def _check_disk(
    download: Download, items: Sequence[Item], folder: Path, say: Callable[[str], None]
) -> None:
    missing = sum(item.missing_bytes for item in items)
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    converted = download.converted_bytes
    later = f", {gigabytes(converted)} more on first use" if converted else ""
    say(f"{gigabytes(missing)} to fetch{later}, {gigabytes(free)} free on the disk")
    needed = missing + converted + SPARE_BYTES
    if needed > free:
        raise UserError(
            f"the disk has {gigabytes(free)} free, and {gigabytes(needed)} are needed",
            hint="make room, or name another folder with `DIFFST_MODELS`",
        )


def _fetch(item: Item, say: Callable[[str], None]) -> None:
    """One file, from where it was broken off, checked before it gets its name."""
    from huggingface_hub import get_token, hf_hub_url
    from huggingface_hub.file_download import http_get

    if item.place.is_file():
        return
    item.place.parent.mkdir(parents=True, exist_ok=True)
    there = item.part.stat().st_size if item.part.is_file() else 0
    if there > item.size:
        item.part.unlink()
        there = 0
    if there:
        say(f"going on with `{item.file.path}` after {gigabytes(there)}")
    address = hf_hub_url(
        item.repository.name,
        item.file.path,
        revision=item.repository.revision,
        endpoint=_endpoint(),
    )
    token = get_token()
    # `hf_hub_download` begins a broken-off file anew, which is no way to get 8 GB over a poor line.
    with item.part.open("ab") as file:
        http_get(
            address,
            file,
            resume_size=there,
            headers={"authorization": f"Bearer {token}"} if token else {},
            expected_size=item.size,
        )
    if item.sha256 is not None and sha256(item.part) != item.sha256:
        item.part.unlink()
        raise UserError(
            f"`{item.file.path}` arrived damaged and was removed", hint="run the same command again"
        )
    item.part.rename(item.place)


@contextmanager
def _hub_errors(download: Download, folder: Path) -> Iterator[None]:
    """Turns what goes wrong between us and the hub into sentences with a remedy."""
    # The last is whatever the hub's client builds on: requests' before its version 1, httpx' since.
    from huggingface_hub.errors import (  # type: ignore[attr-defined]
        GatedRepoError,
        HfHubHTTPError,
        HTTPError,
    )

    try:
        yield
    except GatedRepoError as error:
        gated = [s.page for s in download.repositories if s.name in str(error.response.url)]
        raise UserError(
            f"`{_host()}` asks to accept a licence first",
            hint=f"accept it on {' or '.join(gated)}, then set `HF_TOKEN` to a token of yours",
        ) from error
    except (HTTPError, OSError) as error:
        if isinstance(error, OSError) and (error.filename or error.errno == errno.ENOSPC):
            raise  # the disk's, which is explained elsewhere
        reason = "cannot be reached"
        if isinstance(error, HfHubHTTPError) and error.response is not None:
            reason = f"answered {error.response.status_code}"
        manual = "\n".join(by_hand(download, folder))
        raise UnreachableError(f"`{_host()}` {reason}", manual) from error


class UnreachableError(UserError):
    """The hub did not give the files; `manual` says how to get them without this program."""

    def __init__(self, message: str, manual: str) -> None:
        super().__init__(
            message,
            hint="run it again to go on; `HF_ENDPOINT` names a mirror; or fetch the files by hand",
        )
        self.manual = manual


def _host() -> str:
    return _endpoint().partition("://")[2] or _endpoint()


def read_record(folder: Path) -> dict[str, Any]:
    """What was fetched into a folder; empty when nothing was, or not yet all."""
    try:
        content: dict[str, Any] = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return content


def write_record(folder: Path, download: Download, items: Sequence[Item]) -> None:
    """Keep what was fetched, from where, and its hashes."""
    files = {
        str(item.place.relative_to(folder)): {
            "repository": item.repository.name,
            "revision": item.repository.revision,
            "path": item.file.path,
            "size": item.size,
            "sha256": item.sha256 or sha256(item.place),
        }
        for item in items
    }
    licences = {source.name: source.licence for source in download.repositories}
    content = {"name": download.name, "licences": licences, "files": files}
    (folder / RECORD_FILE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
