"""Finding ffmpeg, and running it so that it opens one local file and nothing else."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import subprocess
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from diffst.containers import PROTOCOLS as PROTOCOLS
from diffst_cli.errors import UserError

# An older system ffmpeg is passed over for the bundled one: 5.1 and 7.0 failed our tests of variable
# rates, copied audio and MPEG-TS.
MIN_VERSION = (7, 1)
# Files without a header tell of a stream only where it begins: how far to look for them, in bytes and
# in microseconds. It takes half a second, and as much memory as bytes.
UNANNOUNCED = ("mpeg", "mpegts")
OPENING = {"probesize": "100000000", "analyzeduration": "100000000"}
KEPT_LINES = 50  # of ffmpeg's stderr, for error sentences
PATH_VARIABLE = "DIFFST_FFMPEG"


@functools.cache
def ffmpeg_path() -> Path:
    """The ffmpeg to run: `DIFFST_FFMPEG`, else the system's if new enough, else imageio-ffmpeg's.

    Raises:
        UserError: `DIFFST_FFMPEG` does not run, or no ffmpeg exists on this machine.
    """
    override = os.environ.get(PATH_VARIABLE)
    if override:
        named = shutil.which(override)
        if named is None or read_version(Path(named)) is None:
            raise UserError(
                f"`{PATH_VARIABLE}` names `{override}`, which does not run as ffmpeg",
                hint="unset it to use the bundled ffmpeg",
            )
        return Path(named).absolute()
    on_path = shutil.which("ffmpeg")
    if on_path is not None:
        version = read_version(Path(on_path))
        if version is not None and version >= MIN_VERSION:
            return Path(on_path).absolute()
    return _bundled_path()


def _bundled_path() -> Path:
    import imageio_ffmpeg  # here, so that a machine with its own ffmpeg never pays for the search

    remedy = f"install ffmpeg {MIN_VERSION[0]}.{MIN_VERSION[1]} or later, or set `{PATH_VARIABLE}`"
    try:
        found = Path(shutil.which(imageio_ffmpeg.get_ffmpeg_exe()) or "")
    except RuntimeError as error:
        raise UserError("no ffmpeg found", hint=remedy) from error
    # Where it has none for this kind of machine, it names the system's.
    if found.parent.parent != Path(imageio_ffmpeg.__file__).parent:
        version = read_version(found)
        if version is None or version < MIN_VERSION:
            raise UserError(f"the ffmpeg here, `{found}`, is too old", hint=remedy)
    return found.absolute()


def read_version(path: Path) -> tuple[int, int] | None:
    """(major, minor) of an ffmpeg; (999, 0) for a build from git, None when it does not run."""
    try:
        answer = subprocess.run(
            [str(path), "-version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    first_line = answer.stdout.decode(errors="replace").partition("\n")[0]
    if not first_line.startswith("ffmpeg version"):
        return None
    numbers = re.search(r"version n?(\d+)\.(\d+)", first_line)
    return (int(numbers[1]), int(numbers[2])) if numbers else (999, 0)


class _FileName(str):
    """A name that may hold bytes that are no UTF-8, as Python has them in a `str`.

    ffmpeg-python encodes what `str` makes of it, for a hash; the process is given the name itself.
    """

    __slots__ = ()

    def __str__(self) -> str:
        return self.encode("utf-8", "backslashreplace").decode("utf-8")


def opening_options(container: str) -> dict[str, str]:
    """Options with which a file of such a container is opened everywhere, so that all see the same streams.

    Args:
        container: FFmpeg's demuxer names, comma-separated.
    """
    return dict(OPENING) if container in UNANNOUNCED else {}


def file_argument(path: Path) -> str:
    """A path as ffmpeg's file protocol takes it literally, whatever it holds; to be passed on unchanged."""
    return _FileName(f"file:{path.absolute()}")


class FfmpegProcess:
    """A running ffmpeg whose stderr is drained and remembered; owns the process until `stop`.

    Use as a context manager: leaving it always ends the process.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        reads_stdin: bool = False,
        num_kept_lines: int = KEPT_LINES,
        folder: Path | None = None,
    ) -> None:
        """Start ffmpeg.

        Args:
            arguments: Everything after the program's name.
            reads_stdin: Whether `stdin` is a pipe to write to; otherwise it is closed.
            num_kept_lines: How many of its last stderr lines to remember.
            folder: To run in; None for ours.
        """
        command = [str(ffmpeg_path()), "-hide_banner", "-loglevel", "level+warning", *arguments]
        if not reads_stdin:
            command.insert(1, "-nostdin")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if reads_stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            start_new_session=True,  # Ctrl-C is ours to handle; ffmpeg must not race us to it
        )
        self._lines: deque[str] = deque(maxlen=num_kept_lines)
        self._drain = threading.Thread(
            target=_keep_lines,
            args=(self._process.stderr, self._lines),
            name="ffmpeg-stderr",
            daemon=True,
        )
        self._drain.start()
        # Runs at the latest when Python exits, while threads still run: later, a pipe that the drain
        # holds can no longer be closed, and Python aborts.
        self._end = weakref.finalize(self, _end, self._process, self._drain)

    @property
    def stdout(self) -> IO[bytes]:
        """What ffmpeg writes."""
        assert self._process.stdout is not None
        return self._process.stdout

    @property
    def stdin(self) -> IO[bytes]:
        """What ffmpeg reads; only with `reads_stdin`."""
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def lines(self) -> tuple[str, ...]:
        """The last lines ffmpeg wrote to stderr; all of them once `wait` or `stop` returned."""
        return tuple(self._lines)

    def wait(self, timeout_seconds: float | None = None) -> int:
        """Wait for ffmpeg to end and return its exit status.

        Raises:
            TimeoutError: It is still running after `timeout_seconds`.
        """
        try:
            status = self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError("ffmpeg is still running") from error
        self._drain.join()
        return status

    def kill(self) -> None:
        """End the process if it still runs, without waiting; its pipes then run dry."""
        if self._process.poll() is None:
            self._process.kill()

    def stop(self) -> None:
        """End the process if it still runs, and close its pipes; safe to call twice."""
        self._end()

    def __enter__(self) -> FfmpegProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _keep_lines(stderr: IO[bytes], lines: deque[str]) -> None:
    for line in stderr:
        text = line.decode(errors="replace").strip()
        if text:
            lines.append(text)


def _end(process: subprocess.Popen[bytes], drain: threading.Thread) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
    drain.join()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):  # bytes left for a process that is gone
                pipe.close()


def error_lines(lines: Sequence[str]) -> list[str]:
    """Ffmpeg's own error messages among its stderr `lines`, without the `[h264 @ 0x..] [error]` marks."""
    marked = (
        re.fullmatch(r"(?:\[[^]]*\] )*\[(?:error|fatal|panic)\] (.*)", line) for line in lines
    )
    return [match[1] for match in marked if match]
