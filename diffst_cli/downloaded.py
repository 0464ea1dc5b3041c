"""Models that were downloaded: which are here, and whether their files are still the right ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diffst.folders import INDEX_FILE, model_folder
from diffst_cli.download import Item, is_complete, read_record, write_record
from diffst_cli.errors import UserError
from diffst_cli.hashing import sha256
from diffst_cli.model_files import DOWNLOADS, Download
from diffst_cli.words import gigabytes


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a list tells of a model that can be fetched."""

    name: str
    description: str
    licence: str
    """Those of all its parts."""
    installed: bool
    path: Path
    size_bytes: int
    """Of all its files, about."""

    @property
    def words(self) -> str:
        """Two lines, like those about a model that is built in."""
        state = "fetched" if self.installed else f"not here: `diffst models pull {self.name}`"
        return f"{self.name}: {state}, about {gigabytes(self.size_bytes)}, {self.licence}\n  {self.description}"


def summary(download: Download) -> Summary:
    """What a list tells of one."""
    folder = model_folder(download.name)
    return Summary(
        name=download.name,
        description=download.description,
        licence="; ".join(dict.fromkeys(source.licence for source in download.repositories)),
        installed=is_ready(download),
        path=folder,
        size_bytes=download.about_bytes,
    )


def require_ready(name: str) -> None:
    """Passes a model that can be used, or that cannot be fetched.

    Raises:
        UserError: It can be fetched, and is not here; with its licence.
    """
    download = DOWNLOADS.get(name)
    if download is None or is_ready(download):
        return
    told = summary(download)
    raise UserError(
        f"the model `{name}` is not on this machine",
        hint=f"`diffst models pull {name}` fetches it, about {gigabytes(told.size_bytes)}; licence: {told.licence}",
    )


def is_ready(download: Download) -> bool:
    """Whether a model is here: its files as fetched, or a pipeline made of them or put there by hand."""
    folder = model_folder(download.name)
    return (folder / INDEX_FILE).is_file() or is_complete(download, folder)


def here() -> list[Download]:
    """Downloads whose files are all in place."""
    return [found for found in DOWNLOADS.values() if is_complete(found, model_folder(found.name))]


def check(download: Download) -> str:
    """Compare every file with its recorded or published hash; gives what to say, if all is well.

    Files that were put there by hand have no record yet: it is written, and they are said to be as
    published only where a hash is known beforehand.

    Raises:
        ValueError: Saying which file is missing or another one.
    """
    folder = model_folder(download.name)
    record = read_record(folder)
    recorded = {place: facts["sha256"] for place, facts in record.get("files", {}).items()}
    items = []
    for source in download.repositories:
        for file in source.files:
            place = folder / file.place
            if not place.is_file():
                raise ValueError(f"`{place}` is missing")
            found = sha256(place)
            wanted = file.sha256 or recorded.get(file.place)
            if wanted is not None and found != wanted:
                raise ValueError(f"`{place}` is not the published file")
            items.append(
                Item(
                    repository=source,
                    file=file,
                    place=place,
                    size=place.stat().st_size,
                    sha256=found,
                )
            )
    if record:
        return "as downloaded"
    write_record(folder, download, items)
    known = all(file.sha256 for source in download.repositories for file in source.files)
    return "as published" if known else "put there by hand; its hashes are on record from now on"


def folder_of(name: str) -> Path | None:
    """The folder of a model that can be downloaded, here or not; None for others."""
    return model_folder(name) if name in DOWNLOADS else None
