"""Workers on the machines of a Ray cluster: an actor for each GPU, or for each CPU slot where there is none.

An actor does what a worker process does here (`worker.serve`), and is dealt segments by the same `Crew`.
A machine that does not see the input and the work's folder under the same paths gets the one, and gives
its pieces, through Ray's object store (`parcels`). Ray is the scheduler; nothing of it is imported until
a cluster is asked for.
"""

from __future__ import annotations

import functools
import os
import queue
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from diffst_cli.codecs import PNG
from diffst_cli.devices import OF, OpenModel, WorkerLost
from diffst_cli.errors import UserError
from diffst_cli.job import UpscaleJob
from diffst_cli.parcels import Apart, Letter, Parcel, put_input, take_input
from diffst_cli.pieces import PART, hash_piece
from diffst_cli.planner import choose_place
from diffst_cli.recipe import fingerprint
from diffst_cli.segments import Segment
from diffst_cli.worker import Failed, Finished, Task, serve

HEAR_SECONDS = 2.0  # for which an actor waits for something to tell
CONNECT_SECONDS = 10.0
LEAVE_SECONDS = 5.0  # for an actor to remove what it has on disk
MARK = ".seen-"  # begins the name of a file by which machines know the work's folder
ALL_LINES = "^"
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HTTP2_SETTINGS = 4  # type of a frame
GPU, CPU = "GPU", "CPU"  # Ray's names of what a machine has


class Desk:
    """The actor: works in a thread of its own, and keeps what it says until it is asked for."""

    def __init__(self, *arguments: Any) -> None:
        """Begin; `arguments` are those of `worker.serve` after the line, which we are."""
        self._orders: queue.SimpleQueue[Letter | Segment] = queue.SimpleQueue()
        self._messages: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._inputs: queue.SimpleQueue[list[object]] = queue.SimpleQueue()
        self._task: Task | None = None  # with this machine's paths
        self._own_folder: Path | None = None  # for what we have in place of what we do not see
        threading.Thread(target=serve, args=(self, *arguments), daemon=True).start()

    def send(self, message: object) -> None:
        """Keep a message for the run; a piece that it does not see goes with it."""
        if isinstance(message, Finished) and self._task and self._task.folder == self._own_folder:
            path = self._task.folder / self._task.settings.name(message.piece.index)
            message = Parcel(message, path.read_bytes())
            path.unlink()
        self._messages.put(message)

    def receive(self) -> Task | Segment:
        """The next order, as soon as there is one."""
        order = self._orders.get()
        if isinstance(order, Segment):
            return order
        self._task = self._at_hand(order)
        return self._task

    def _at_hand(self, letter: Letter) -> Task:
        """The task with paths that are good here."""
        self.leave()
        task, has_folder, has_input = letter.task, letter.shows_folder(), letter.shows_input()
        if has_folder and has_input:
            return task
        if not has_folder and task.settings.encoding.codec is PNG:
            raise UserError("pictures are made on machines that share their folder only")
        self._messages.put(Apart(wants_input=not has_input))
        self._own_folder = Path(tempfile.mkdtemp(prefix="diffst-"))
        if not has_input:
            own_input = self._own_folder / f"input{task.job.input.suffix}"
            take_input(self._inputs.get(), own_input)
            task = replace(task, job=replace(task.job, input=own_input))
        if not has_folder:
            task = replace(task, folder=self._own_folder)
        return task

    def give(self, orders: Sequence[Letter | Segment]) -> None:
        """Take orders of the run."""
        for order in orders:
            self._orders.put(order)

    def give_input(self, references: list[object]) -> None:
        """Take where the input is in the object store."""
        self._inputs.put(references)

    def leave(self) -> None:
        """Remove what we put on this machine's disk."""
        if self._own_folder is not None:
            shutil.rmtree(self._own_folder, ignore_errors=True)
            self._own_folder = None

    def hear(self) -> tuple[str, list[object]]:
        """This machine's name, and all messages since the last call; none if none comes soon."""
        messages = []
        try:
            messages.append(self._messages.get(timeout=HEAR_SECONDS))
            while True:
                messages.append(self._messages.get_nowait())
        except queue.Empty:
            return socket.gethostname(), messages


class RayWorker:
    """An actor and the way to talk to it, as `devices.LocalWorker`; owns it until `stop`."""

    def __init__(self, device: str, open_model: OpenModel, job: UpscaleJob) -> None:
        """Ask Ray for an actor with a GPU or a CPU slot; it begins as soon as a machine has room."""
        import ray

        self.name = device
        self._letter: Letter | None = None
        self._is_apart = False  # whether its machine does not see our files
        self._messages: deque[object] = deque()
        self._asked: Any = None
        needs = {"num_cpus": 1} if device == "cpu" else {"num_gpus": 1, "num_cpus": 0}
        # Two calls at once, so that a segment is taken while somebody listens.
        actor = ray.remote(max_concurrency=2, max_restarts=0, **needs)(Desk)
        self._actor = actor.remote(open_model, replace(job, ray=None))

    def receive(self, timeout_seconds: float) -> Any:
        """What the actor says next.

        Raises:
            WorkerLost: It or its machine died, or it says nothing for too long.
            UserError: It says that a step failed, or its piece is not seen here.
        """
        import ray

        deadline = time.monotonic() + timeout_seconds
        while not self._messages:
            left = deadline - time.monotonic()
            if left <= 0:
                raise WorkerLost(f"was silent for {timeout_seconds:.0f} s")
            try:
                self._asked = self._asked or self._actor.hear.remote()
                if ray.wait([self._asked], timeout=left)[0]:
                    asked, self._asked = self._asked, None
                    host, messages = ray.get(asked)
                    self._messages.extend(messages)
                    self.name = f"{self.name.partition(OF)[0]}{OF}{host}"
            except ray.exceptions.RayError as error:
                raise WorkerLost("ended with its actor") from error
        message = self._messages.popleft()
        if isinstance(message, Failed):
            raise UserError(f"{message.message}, says {self.name}", hint=message.hint)
        if isinstance(message, Apart):
            self._is_apart = True
            if message.wants_input:
                self._send_input()
            return self.receive(timeout_seconds)
        if isinstance(message, Parcel):
            message = self._unpack(message)
        if isinstance(message, Finished):
            self._require_here(message)
        return message

    def _send_input(self) -> None:
        assert self._letter is not None
        path, digest = self._letter.task.job.input, self._letter.fingerprint
        if digest is None:
            raise UserError(
                f"`{path}` is not seen on {self.name}",
                hint="give pictures in a folder that all machines share under the same path",
            )
        self._actor.give_input.remote(put_input(path, digest))

    def _unpack(self, parcel: Parcel) -> Finished:
        path = self._path(parcel.finished)
        part = path.with_name(f"{PART}{secrets.token_hex(4)}-{path.name}")
        part.write_bytes(parcel.content)
        part.replace(path)
        return parcel.finished

    def _path(self, finished: Finished) -> Path:
        assert self._letter is not None
        task = self._letter.task
        return task.folder / task.settings.name(finished.piece.index)

    def _require_here(self, finished: Finished) -> None:
        path = self._path(finished)
        try:
            is_here = hash_piece(path) == finished.piece.sha256
        except OSError:
            is_here = False
        if not is_here:
            raise UserError(
                f"`{path}`, made on {self.name}, is not seen here",
                hint="give a `--work-folder` that all machines share under the same path",
            )

    def send(self, *orders: Task | Segment) -> None:
        """Give the actor an output to work at, or a segment of it. That it died is told by `receive`."""
        # In one call, since an actor that may do two at once does not keep to their order.
        self._actor.give.remote(
            [self._seal(order) if isinstance(order, Task) else order for order in orders]
        )

    def _seal(self, order: Task) -> Letter:
        """The letter of a task; it is kept, to know what the actor works at."""
        mark = f"{MARK}{secrets.token_hex(8)}"
        (order.folder / mark).touch()
        task = replace(order, job=replace(order.job, ray=None))
        is_file = order.job.input.is_file()
        self._letter = Letter(task, mark, fingerprint((order.job.input,)) if is_file else None)
        return self._letter

    def stop(self) -> None:
        """End the actor at once. Safe to call twice."""
        import ray

        if self._is_apart:
            self._is_apart = False
            with suppress(ray.exceptions.RayError):  # it is gone, or does not answer
                ray.get(self._actor.leave.remote(), timeout=LEAVE_SECONDS)
        ray.kill(self._actor, no_restart=True)


def connect(address: str) -> None:
    """Join the cluster at `address`, or the one that this machine belongs to for `auto`; once.

    Raises:
        UserError: Ray is not installed, or there is no such cluster.
    """
    # Else Ray prints pages of its state when a machine dies, among what we tell; read by the import.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ALL_LINES)
    try:
        import ray
    except ImportError as error:
        raise UserError(
            "`--ray` needs Ray, which is not here", hint="run `pip install 'diffst[ray]'`"
        ) from error
    if ray.is_initialized():
        return
    before = signal.getsignal(signal.SIGTERM)  # Ray's own would end us without cleaning up
    try:
        if address != "auto" and os.environ.get("RAY_USE_TLS", "0") == "0":
            _require_grpc(address)
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (OSError, OverflowError, ValueError, RuntimeError) as error:
        raise UserError(
            f"there is no Ray cluster at `{address}`",
            hint="`ray start --head` starts one, and prints its address",
        ) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _require_grpc(address: str) -> None:
    """Passes an address where somebody speaks gRPC, as Ray does, which would else try for minutes, and loudly.

    Source: RFC 9113, section 3.4: both sides begin with a SETTINGS frame.

    Raises:
        OSError, OverflowError, ValueError: It is none.
    """
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), CONNECT_SECONDS) as connection:
        connection.sendall(HTTP2_PREFACE + bytes((0, 0, 0, HTTP2_SETTINGS, 0, 0, 0, 0, 0)))
        if connection.recv(4)[3:] != bytes((HTTP2_SETTINGS,)):
            raise ConnectionError("speaks something else")


def resolve_device(job: UpscaleJob) -> UpscaleJob:
    """The job with the device that its workers use: `cuda` where the cluster has GPUs, else `cpu`.

    On CPUs its precision is this machine's, lest each use what it is fast at itself. Its paths are
    absolute, since an actor has another current folder.

    Raises:
        UserError: The cluster cannot be used.
    """
    assert job.ray is not None
    connect(job.ray)
    device = job.device
    if device == "auto":
        device = "cuda" if _num_slots(GPU) else "cpu"
    if device == "cpu":
        job = replace(job, precision=choose_place(replace(job, device=device))[1])
    is_folder = Path(job.model).is_dir()
    return replace(
        job,
        device=device,
        input=job.input.absolute(),
        model=str(Path(job.model).absolute()) if is_folder else job.model,
    )


def ray_starters(job: UpscaleJob, open_model: OpenModel) -> Sequence[Callable[[], RayWorker]]:
    """What starts a worker, for each slot of the cluster that was free when it was joined.

    Args:
        job: Any of those to come, with its device resolved.
        open_model: Gives the model of a job; importable by name on all machines.

    Raises:
        UserError: There is none.
    """
    kind = CPU if job.device == "cpu" else GPU
    num_slots = min(_num_free(kind), _num_slots(kind))  # machines may have died since
    if not num_slots:
        raise UserError(
            f"the Ray cluster has no free {kind}",
            hint="`ray status` says what it has, and who uses it",
        )
    return [partial(RayWorker, job.device, open_model, job)] * num_slots


def _num_slots(kind: str) -> int:
    """GPUs or CPU slots of all machines that are alive."""
    import ray

    return int(ray.cluster_resources().get(kind, 0))


@functools.cache  # later, what our own actors leave is not back at once
def _num_free(kind: str) -> int:
    import ray

    return int(ray.available_resources().get(kind, 0))
