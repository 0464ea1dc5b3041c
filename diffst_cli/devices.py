"""Workers that make pieces of one output, each on a device of its own: here, processes of this machine."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING, Any, Protocol

from diffst_cli.errors import UserError
from diffst_cli.job import UpscaleJob
from diffst_cli.segments import Segment
from diffst_cli.worker import Failed, Task, work_for

if TYPE_CHECKING:
    from diffst.upscaler import UpscaleModel

OF = " of "  # in a worker's name: between its device and its machine, where that is another
STOP_SECONDS = 5.0  # for a process to end by itself

OpenModel = Callable[[UpscaleJob], "UpscaleModel"]


class WorkerLost(Exception):  # noqa: N818 - it is replaced
    """A process died or hung."""


class CrewMember(Protocol):
    """One that makes pieces, elsewhere, and the way to talk to it; used by one thread at a time."""

    name: str
    """Where it works, as `cpu` or, on another machine, `cpu of HOST`."""

    def receive(self, timeout_seconds: float) -> Any:
        """What it says next.

        Raises:
            WorkerLost: It died, or says nothing for too long.
            UserError: It says that a step failed.
        """

    def send(self, *orders: Task | Segment) -> None:
        """Give it an output to work at, or a segment of it to make, or both in that order.

        Raises:
            WorkerLost: It died.
        """

    def stop(self) -> None:
        """End it at once; a thread that waits in `receive` gets WorkerLost. Safe to call twice."""


class LocalWorker:
    """One process of this machine, as a `CrewMember`."""

    def __init__(self, device: str, open_model: OpenModel, job: UpscaleJob) -> None:
        """Start the process; it loads the model of `job` on `device`, and says when it is ready."""
        self.name = device
        context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
        self._connection: Connection
        self._connection, other = context.Pipe()
        self._process: SpawnProcess = context.Process(
            target=work_for,
            args=(other, open_model, self._own(job)),
            name="diffst-worker",
            daemon=True,
        )
        self._process.start()
        other.close()

    def receive(self, timeout_seconds: float) -> Any:
        """What the process says next.

        Raises:
            WorkerLost: It died, or says nothing for too long.
            UserError: It says that a step failed.
        """
        try:
            if not self._connection.poll(timeout_seconds):
                raise WorkerLost(f"was silent for {timeout_seconds:.0f} s")
            message = self._connection.recv()
        except (EOFError, OSError) as error:
            self._process.join(STOP_SECONDS)
            raise WorkerLost(f"ended with status {self._process.exitcode}") from error
        if isinstance(message, Failed):
            raise UserError(message.message, hint=message.hint)
        return message

    def send(self, *orders: Task | Segment) -> None:
        """Give the process an output to work at, or a segment of it to make.

        Raises:
            WorkerLost: It died.
        """
        try:
            for order in orders:
                if isinstance(order, Task):
                    order = replace(order, job=self._own(order.job))
                self._connection.send(order)
        except OSError as error:
            raise WorkerLost("ended") from error

    def _own(self, job: UpscaleJob) -> UpscaleJob:
        """The job as the process has it, which is one of several here only."""
        return replace(job, device=self.name, devices=())

    def stop(self) -> None:
        """End the process at once. Safe to call twice."""
        self._process.kill()
        self._process.join()
        self._connection.close()


def local_starters(job: UpscaleJob, open_model: OpenModel) -> list[Callable[[], CrewMember]]:
    """What starts a process for each device of a job.

    Args:
        job: Any of those to come.
        open_model: Gives the model of a job; importable by name from another process.
    """
    return [partial(LocalWorker, device, open_model, job) for device in job.devices]
