"""All that an output depends on, as a few short texts: two runs with the same recipe make the same pieces."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from diffst.wan.names import TINY_DECODER, TINY_DECODER_FILE
from diffst_cli.ffmpeg import ffmpeg_path, read_version
from diffst_cli.job import UpscaleJob
from diffst_cli.planner import choose_place
from diffst_cli.probe import VideoInfo

# Of a job: which file it reads is told by its content, which device it uses more loosely, and the
# others are not seen in the output. `vram_limit` is: with less memory, pictures are cut into tiles.
NOT_IN_RECIPE = frozenset(
    (
        "input",
        "output",
        "output_is_folder",
        "device",
        "devices",
        "ray",
        "overwrite",
        "restart",
        "work_folder",
    )
)
SAMPLES = 64  # blocks of a file that are looked at
SAMPLE_BYTES = 2**16


def make_recipe(job: UpscaleJob, info: VideoInfo) -> dict[str, str]:
    """The recipe of a job, by what the user calls each part."""
    recipe = {
        field.name: str(getattr(job, field.name))
        for field in dataclasses.fields(job)
        if field.name not in NOT_IN_RECIPE
    }
    return recipe | {
        # Its work lies beside it, or with that of others that may have the same name.
        "output": str(job.output.absolute()) if job.work_folder else job.output.absolute().name,
        "output_is_folder": str(_is_folder(job)),
        **_place(job),
        "input": fingerprint(files_of(info)),
        "weights": _content(_model_files(job.model) + _decoder_files(job)),
        "diffst": version("diffst"),
        # The program itself: wherever it lies, the same one gives the same bytes.
        "ffmpeg": f"{read_version(ffmpeg_path())} {_content((ffmpeg_path(),))}",
    }


def _is_folder(job: UpscaleJob) -> bool:
    """Whether the output is a folder of pictures, typed with a slash or without: its pieces are others."""
    return job.output_is_folder or not job.output.suffix or job.output.is_dir()


def _place(job: UpscaleJob) -> dict[str, str]:
    """`cpu`, `cuda` or `mps`, and on a CPU the precision, which depends on what it is fast at.

    Which of several GPUs it is makes no difference: like ones give the same bits, and a run on
    unlike ones mixes them anyway. Nor does the number of cores or threads, so that work goes on
    wherever there is a machine for it.
    """
    device = job.devices[0] if job.devices else job.device
    if device == "auto":  # a named one is not looked for: its name tells its kind
        device = choose_place(job)[0]
    kind = device.partition(":")[0]
    if kind != "cpu":
        return {"device": kind}
    _, precision = choose_place(replace(job, device="cpu", devices=()))
    return {"device": kind, "precision": precision}


def recipe_hash(recipe: Mapping[str, str]) -> str:
    """Eight characters that tell recipes apart."""
    lines = "\0".join(f"{name}\0{value}" for name, value in sorted(recipe.items()))
    return hashlib.blake2b(lines.encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()


def files_of(info: VideoInfo) -> tuple[Path, ...]:
    """The files that an input is read from: itself, or its pictures."""
    return info.images or (info.path,)


def fingerprint(paths: tuple[Path, ...], *, times: bool = True) -> str:
    """Tells whether files were changed, without reading all of a long one.

    Of several files, names, sizes and times of change; of a single one, a sample of its content
    too: beginning, end, and evenly between. An edit that keeps the size, the time of change and
    every sampled byte goes unseen here, but not while frames are read: their checksums are known.

    Args:
        paths: The files.
        times: Whether times of change count, which `touch` changes too.
    """
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        about = path.stat()
        name = path.name if len(paths) > 1 else ""
        time = about.st_mtime_ns if times else ""
        digest.update(f"{name}\0{about.st_size}\0{time}\0".encode("utf-8", "replace"))
    if len(paths) == 1:
        _add_samples(digest, paths[0])
    return digest.hexdigest()


def _content(paths: tuple[Path, ...]) -> str:
    """The same of files that are installed, whenever that was: a machine with its own installation may go on."""
    return " ".join(fingerprint((path,), times=False) for path in paths)


def _add_samples(digest: hashlib.blake2b, path: Path) -> None:
    size = path.stat().st_size
    last = max(size - SAMPLE_BYTES, 0)
    with path.open("rb") as file:
        for place in sorted({last * number // (SAMPLES - 1) for number in range(SAMPLES)}):
            file.seek(place)
            digest.update(file.read(SAMPLE_BYTES))


def _decoder_files(job: UpscaleJob) -> tuple[Path, ...]:
    """The decoder's own file, where it has one and it is here."""
    from diffst.folders import model_folder

    if job.decoder != "tiny":
        return ()
    file = model_folder(TINY_DECODER) / TINY_DECODER_FILE
    return (file,) if file.is_file() else ()


def _model_files(name: str) -> tuple[Path, ...]:
    """Configuration and weights of a model; none where it does not exist, which loading it will say.

    Where a model's published files were fetched, those: the first run makes others of them.
    """
    from diffst.folders import EMBEDDED, model_files
    from diffst.star.names import PUBLISHED_FOLDER, star_folder

    folder = EMBEDDED.get(name, star_folder(name))
    published = tuple(sorted((folder / PUBLISHED_FOLDER).glob("*.pt")))
    if published:
        return published
    return tuple(model_files(folder))
