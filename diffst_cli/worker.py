"""What a worker does: load the model, then make the piece of each segment of the outputs that it is given."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from diffst_cli.errors import explain
from diffst_cli.job import UpscaleJob
from diffst_cli.libraries import load_libraries
from diffst_cli.making import InexactEntry, Recipient, SegmentMaker
from diffst_cli.pieces import Piece, PieceSettings
from diffst_cli.planner import Room, find_room, plan_run
from diffst_cli.segments import Segment
from diffst_cli.stages import Stages
from diffst_cli.stepping import SteppingModel

if TYPE_CHECKING:
    from diffst.upscaler import ModelRules, UpscaleModel

    OpenModel = Callable[[UpscaleJob], UpscaleModel]

ORPHAN_SECONDS = 0.5  # between looks at whether our parent is still there


@dataclass(frozen=True)
class Task:
    """An output, of which segments will follow."""

    job: UpscaleJob
    folder: Path
    """For the pieces."""
    settings: PieceSettings
    """How they are encoded."""
    way: str | None
    """How clips are made, in the words of a `Rung`; None where this worker decides."""


@dataclass(frozen=True)
class Ready:
    """The model is loaded."""

    rules: ModelRules
    room: Room
    """What there is for it."""


@dataclass(frozen=True)
class Made:
    """Some frames of the segment at hand are encoded."""

    num_frames: int


@dataclass(frozen=True)
class ModelAt:
    """How far the model is with a clip that takes long."""

    words: str


@dataclass(frozen=True)
class ClipAt:
    """About how many of the frames that this clip gives are done."""

    frames: float


@dataclass(frozen=True)
class Warned:
    """Something the user should know."""

    message: str


@dataclass(frozen=True)
class Finished:
    """The piece is there."""

    piece: Piece
    stage_seconds: Mapping[str, float]
    """Since the last one, by stage."""


@dataclass(frozen=True)
class Failed:
    """A step failed, in a user's words; nothing more comes."""

    message: str
    hint: str | None


def work_for(connection: Connection, open_model: OpenModel, job: UpscaleJob) -> None:
    """Serve the other end of `connection` until it is gone."""
    for name in ("SIGINT", "SIGHUP"):  # the parent hears them of the same terminal, and ends us
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    threading.Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()
    serve(_Connected(connection), open_model, job)


class RunGone(Exception):  # noqa: N818 - not an error of the worker's
    """Nobody is at the other end of a worker's line any more."""


class Line(Protocol):
    """The way from a worker to the run that it works for."""

    def send(self, message: object) -> None:
        """Say something; called from several threads.

        Raises:
            RunGone: Nobody hears it.
        """

    def receive(self) -> Task | Segment:
        """The next output to work at, or segment of it to make.

        Raises:
            RunGone: There are no more.
        """


def serve(line: Line, open_model: OpenModel, job: UpscaleJob) -> None:
    """Load the model of `job`, say so, and make every segment that `line` gives; a failure is told, not raised."""
    try:
        _serve(line, open_model, job)
    except RunGone:
        return
    except Exception as error:
        explained = explain(error)
        line.send(Failed(explained.message, explained.hint))


class _Connected:
    """Our end of the connection, which several threads send on."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sending = threading.Lock()

    def send(self, message: object) -> None:
        """Send a message whole; see `Line`."""
        with self._sending, _told_when_gone():
            self._connection.send(message)

    def receive(self) -> Task | Segment:
        """The next output to work at, or segment of it to make; see `Line`."""
        with _told_when_gone():
            order: Task | Segment = self._connection.recv()
        return order


@contextmanager
def _told_when_gone() -> Iterator[None]:
    """Inside, errors of a cut connection are `RunGone`; elsewhere they are of a step, as of a pipe to ffmpeg."""
    try:
        yield
    except (EOFError, ConnectionError) as error:
        raise RunGone from error


def _leave_with(parent: int) -> None:
    """End this process when its parent has, so that a killed run leaves nothing running."""
    while os.getppid() == parent:
        time.sleep(ORPHAN_SECONDS)
    os._exit(1)


def _serve(line: Line, open_model: OpenModel, job: UpscaleJob) -> None:
    load_libraries()
    model = open_model(job)
    line.send(Ready(model.rules, find_room(job)))
    order = line.receive()
    while True:
        assert isinstance(order, Task)
        order = _work_at(order, model, line)


def _work_at(task: Task, model: UpscaleModel, line: Line) -> Task | Segment:
    """Make what segments of one output come; the first order that is none of them."""
    from diffst_cli.probe import probe

    info = probe(task.job.input)
    plan = plan_run(task.job, info, model.rules).keeping(task.way)
    stages = Stages()
    stepping = SteppingModel(model, plan, lambda message: line.send(Warned(message)))
    maker = SegmentMaker(
        task.job, info, stepping, plan, folder=task.folder, settings=task.settings, stages=stages
    )
    pieces: list[Piece] = []
    recipient = Recipient(
        frames_written=lambda _, count: line.send(Made(count)),
        piece_finished=pieces.append,
        model_at=lambda words: line.send(ModelAt(words)),
        clip_at=lambda _, frames: line.send(ClipAt(frames)),
    )
    from_beginning = False
    while isinstance(order := line.receive(), Segment):
        before = stages.seconds()
        try:
            maker.make(iter([order]), recipient, from_beginning=from_beginning)
        except InexactEntry as error:
            from_beginning = True
            line.send(Warned(str(error)))
            maker.make(iter([order]), recipient, from_beginning=True)
        spent = {name: now - before.get(name, 0.0) for name, now in stages.seconds().items()}
        line.send(Finished(pieces.pop(), spent))
    return order
