"""Tasks on the workers of a cluster, and what becomes of them when it fails."""

import warnings
from asyncio import CancelledError
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from time import monotonic, sleep
from typing import Any, NamedTuple

import distributed
from distributed.client import FutureCancelledError, FuturesCancelledError
from distributed.comm import CommClosedError
from distributed.scheduler import KilledWorker

from ..exceptions import ClusterError

# So long a fit waits for a first worker, or for one where all have gone, and looks after them so often.
_SECONDS_WITHOUT_WORKERS = 60.0
_SECONDS_BETWEEN_LOOKS = 2.0

_LOST = (CancelledError, FutureCancelledError, FuturesCancelledError, CommClosedError, KilledWorker)


class Worker(NamedTuple):
    """A process of the cluster."""

    address: str
    n_threads: int


class Cluster:
    """A client, as training uses it."""

    def __init__(self, client: Any) -> None:
        self.client = client_of(client)

    def workers(self) -> list[Worker]:
        """Return the workers that there are, waiting for one where there is none.

        Raises
        ------
        ClusterError
            If there is none for too long, or no scheduler.
        """
        begun = monotonic()
        while True:
            found = self._look()
            if found:
                return [Worker(address, found[address]["nthreads"]) for address in sorted(found)]
            if monotonic() - begun > _SECONDS_WITHOUT_WORKERS:
                raise ClusterError(f"no worker has come for {_SECONDS_WITHOUT_WORKERS:g} seconds")
            sleep(_SECONDS_BETWEEN_LOOKS / 10)

    def memory_limit(self) -> float:
        """Return how many bytes all workers may have; infinity where one has no limit."""
        limits = [each["memory_limit"] for each in self._look().values()]
        return float(sum(limits)) if all(limits) else float("inf")

    def holders_of(self, futures: Sequence[Any]) -> list[str | None]:
        """Return a worker that has what each task has returned, None where there is none."""
        holders = self.client.who_has(list(futures)) if futures else {}
        return [min(holders.get(future.key, ()), default=None) for future in futures]

    def submit(self, function: Callable[..., Any], *args: Any, worker: str | None = None) -> Any:
        """Start a task on a worker or, where that is gone, on another one."""
        with _large_graphs():
            return self.client.submit(function, *args, pure=False, **_on(worker))

    def compute(self, tasks: Any, worker: str | None = None) -> Any:
        """Start lazy tasks likewise."""
        with _large_graphs():
            return self.client.compute(tasks, **_on(worker))

    def result(self, future: Any) -> Any:
        """Wait for a task, and return what it returns; raises as `wait`."""
        self.wait([future])
        try:
            return future.result()
        except _LOST as error:
            raise ClusterError(f"what a task has returned is lost: {_one_line(error)}") from None

    def wait(self, futures: Sequence[Any]) -> None:
        """Wait for tasks, and leave what they return where it is.

        Raises
        ------
        ClusterError
            If the scheduler, all workers or what the tasks need are lost for good.
        Exception
            What a task raises.
        """
        for future in futures:
            try:
                self._wait(future)
            except KilledWorker as error:
                raise ClusterError(
                    f"{error.allowed_failures + 1} workers died at one task, for want of memory perhaps; "
                    f"the last one was {error.last_worker.address}"
                ) from None
            except _LOST as error:
                raise ClusterError(f"its tasks are lost: {_one_line(error)}") from None

    def _wait(self, future: Any) -> None:
        while not future.done():
            try:
                with self.client.as_current():  # which need not be the default one
                    distributed.wait([future], timeout=_SECONDS_BETWEEN_LOOKS)
            except TimeoutError:
                self.workers()
        if future.status != "finished":
            error = future.exception()  # raises where it is cancelled
            if error is not None:
                raise error

    def results(self, futures: Sequence[Any]) -> list[Any]:
        """Wait for tasks; see `result`. The first one that fails ends it, and the others."""
        try:
            return [self.result(future) for future in futures]
        except BaseException:
            self.cancel(futures)
            raise

    def cancel(self, futures: Sequence[Any]) -> None:
        """Leave tasks undone, as far as they are, and their errors unheard."""
        with suppress(Exception):  # where the scheduler is gone, they are
            self.client.cancel(list(futures), force=True)

    def _look(self) -> dict[str, Any]:
        try:
            info = self.client.scheduler_info()
        except (OSError, CommClosedError) as error:
            raise ClusterError(f"the scheduler does not answer: {error}") from None
        if "workers" not in info:
            raise ClusterError("the connection to the scheduler is lost")
        found: dict[str, Any] = info["workers"]
        return found


@contextmanager
def _large_graphs() -> Iterator[None]:
    # Weights and small partitions are a part of them, and as large as they are.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sending large graph")
        yield


def _on(worker: str | None) -> dict[str, Any]:
    if worker is None:
        return {}
    return {"workers": [worker], "allow_other_workers": True}


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def client_of(client: Any) -> Any:
    """Return the client that is meant: the one that is given, or the current one.

    Raises
    ------
    TypeError, ValueError
        If it is no client that waits for its results, or there is none.
    """
    if client is None:
        try:
            client = distributed.get_client()
        except ValueError:
            raise ValueError(
                "client: no Dask client is there: make one, distributed.Client(), or give one"
            ) from None
    if not isinstance(client, distributed.Client):
        raise TypeError(f"client: expected a distributed.Client or None, got {client!r}")
    if client.asynchronous:
        raise ValueError("client: expected one that waits for results, got an asynchronous one")
    return client


def here() -> str:
    """Return the address of the worker that a task runs on."""
    address: str = distributed.get_worker().address
    return address


def threads_here(n_threads: int | None) -> int:
    """Return how many threads a task may have: as many as its worker, unless it is told."""
    return n_threads or int(distributed.get_worker().state.nthreads)
