"""As much of Ray as `diffst_cli.cluster` uses, with threads of this process for actors."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from types import ModuleType, SimpleNamespace
from typing import Any


class RayError(Exception):
    """The base of what Ray raises about tasks and actors."""


class Actor:
    """An actor that dies at its `dies_at`th segment, as with its machine; 0 means before it is ready."""

    def __init__(self, obj: Any, dies_at: int | None) -> None:
        self._obj = obj
        self._orders_left = dies_at
        self._was_given = False
        self.dead = threading.Event()
        if dies_at == 0:
            self.dead.set()

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=lambda *arguments: self._call(name, arguments))

    def _call(self, name: str, arguments: tuple[Any, ...]) -> "Future[Any]":
        future: Future[Any] = Future()
        is_late = name == "give" and not self._was_given  # calls at once may overtake each other
        self._was_given = self._was_given or name == "give"
        if self._orders_left is not None and name == "give":
            self._orders_left -= 1
            if self._orders_left == 0:
                self.dead.set()

        def answer() -> None:
            time.sleep(0.1 if is_late else 0)
            result = None if self.dead.is_set() else getattr(self._obj, name)(*arguments)
            if self.dead.is_set():
                future.set_exception(RayError("the actor died"))
            else:
                future.set_result(result)

        threading.Thread(target=answer, daemon=True).start()
        return future


def make_ray(resources: dict[str, float], dies_at: Sequence[int | None] = ()) -> Any:
    """A module `ray` of a cluster with these resources.

    Args:
        resources: As `cluster_resources` gives them.
        dies_at: For each actor, in order of starting, at which segment it dies; 0 for before it is
            ready. Later ones never do.
    """
    ray: Any = ModuleType("ray")
    deaths = list(dies_at)
    ray.options = []  # of every actor asked for
    ray.actors = []

    def remote(**options: Any) -> Callable[[type], Any]:
        def start(kind: type, *arguments: Any) -> Actor:
            ray.options.append(options)
            ray.actors.append(Actor(kind(*arguments), deaths.pop(0) if deaths else None))
            return ray.actors[-1]

        return lambda kind: SimpleNamespace(remote=lambda *arguments: start(kind, *arguments))

    def wait_for(futures: "list[Future[Any]]", timeout: float) -> tuple[list[Any], list[Any]]:
        # An actor that is killed answers, so nobody waits for the whole of a long timeout.
        done, rest = wait(futures, timeout=timeout, return_when=FIRST_COMPLETED)
        return list(done), list(rest)

    def put(value: Any) -> "Future[Any]":
        ray.num_put += 1
        future: Future[Any] = Future()
        future.set_result(value)
        return future

    ray.remote = remote
    ray.wait = wait_for
    ray.get = lambda future, timeout=None: future.result(timeout)
    ray.put = put
    ray.num_put = 0
    ray.kill = lambda actor, no_restart: actor.dead.set()
    ray.exceptions = SimpleNamespace(RayError=RayError)
    ray.cluster_resources = lambda: resources
    ray.available_resources = lambda: resources
    ray.is_initialized = lambda: ray.has_joined
    ray.init = lambda **options: setattr(ray, "has_joined", True)
    ray.has_joined = False
    return ray
