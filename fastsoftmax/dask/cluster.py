"""Tasks on the workers of a cluster, and what becomes of them when it fails."""

import threading
import warnings
import weakref
from asyncio import CancelledError, run_coroutine_threadsafe
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from time import monotonic, sleep
from typing import Any, NamedTuple, Self

import cloudpickle
import dask
import distributed
import distributed.client
import distributed.scheduler
from distributed.client import FutureCancelledError, FuturesCancelledError
from distributed.comm import CommClosedError
from distributed.scheduler import KilledWorker
from distributed.threadpoolexecutor import thread_state

from ..exceptions import ClusterError

# So long a fit waits for a first worker, or for one where all have gone, and looks after them so often.
_SECONDS_WITHOUT_WORKERS = 60.0
_SECONDS_BETWEEN_LOOKS = 2.0

_CANCELLED = (CancelledError, FutureCancelledError, FuturesCancelledError)
_SCHEDULER = "the scheduler"
_CONNECTION_LOST = "the connection to the scheduler is lost"
# Dask's configuration is that of the process: while a fit changes it for a moment, no other fit does.
_CONFIGURATION = threading.RLock()
# What the scheduler makes of tasks that no worker takes, in the versions that have it.
_UNWANTED = tuple(
    getattr(distributed.scheduler, name)
    for name in ("NoWorkerError", "NoValidWorkerError")
    if hasattr(distributed.scheduler, name)
)
# What a client says that has been closed, in the versions that have a name for it.
_CLOSED = (
    CommClosedError,
    *(
        getattr(distributed.client, name)
        for name in ("ClosedClientError",)
        if hasattr(distributed.client, name)
    ),
)


class Worker(NamedTuple):
    """A process of the cluster."""

    address: str
    n_threads: int


class Cluster:
    """A client, as training uses it. As a context manager, it leaves nothing behind on the workers."""

    def __init__(self, client: Any) -> None:
        self.client = client_of(client)
        self._futures: weakref.WeakSet[Any] = weakref.WeakSet()  # that are not forgotten yet
        self._last_seen: set[str] = set()  # workers
        self._able: set[str] = set()  # workers that have this package, and the scheduler
        self._unable: dict[str, str] = {}  # those that do not, and why
        self._generation = self.client.generation  # of the cluster, between two restarts
        self._bytes_sent = 0
        self._has_seceded = False

    def __enter__(self) -> Self:
        self._has_seceded = _secede()
        return self

    def __exit__(self, *_: object) -> None:
        # References end later than the fit does, where an error with its frames is kept, or what a
        # callback gets. (Not `client.cancel`: if a task depends on one of them that nobody waits for, the
        # scheduler fails at it, and drops the client.)
        for future in list(self._futures):
            with suppress(Exception):  # where the scheduler is gone, they are
                future.release()
        if self._has_seceded:
            distributed.rejoin()

    def workers(self) -> list[Worker]:
        """Return the workers that there are, waiting for one where there is none.

        Raises
        ------
        ClusterError
            If there is none for too long, or no scheduler.
        """
        found = self._present()
        return [Worker(address, found[address]["nthreads"]) for address in sorted(found)]

    def _present(self) -> dict[str, Any]:
        begun, wanted = monotonic(), None
        while not (found := self._look()):
            if wanted is None:  # a cluster that adapts starts workers for tasks that wait
                with self._connected():
                    wanted = self.client.submit(int, pure=False)
            if monotonic() - begun > _SECONDS_WITHOUT_WORKERS:
                why = f"; {self._where_to_install()}" if self._unable else ""
                raise ClusterError(
                    f"no worker has come for {_SECONDS_WITHOUT_WORKERS:g} seconds{why}"
                )
            sleep(_SECONDS_BETWEEN_LOOKS / 10)
        self._check_imports(set(found))
        found = {address: of for address, of in found.items() if address not in self._unable}
        self._has_seen(set(found))
        return found

    def _check_imports(self, workers: set[str]) -> None:
        """Raise if the scheduler or a worker does not have this package.

        Else one would die of the first task that it cannot unpickle, and the next one likewise. One that
        joins while others have it is left out: others do the tasks that it is sent again.
        """
        goes_on = bool(self._able)
        if new := sorted(workers - self._able - self._unable.keys()):
            self._look_for_package(new)
        if self._unable and not (goes_on and workers & self._able):
            raise ClusterError(self._where_to_install())

    def warn_of_left_out(self, stacklevel: int) -> None:
        """Warn of workers that have joined and could not be used."""
        if self._unable:
            message = f"{self._where_to_install()}; the fit has gone on without it"
            warnings.warn(message, UserWarning, stacklevel=stacklevel)

    def _where_to_install(self) -> str:
        places = f"{', '.join(self._unable)} ({next(iter(self._unable.values()))})"
        return (
            f"fastsoftmax cannot be imported on {places}: "
            "install it on the scheduler and on every worker, as it is here"
        )

    def _look_for_package(self, new: list[str]) -> None:
        reasons: dict[str, Any] = {}
        with self._connected():
            reasons |= self.client.run(_import_error(), workers=new, on_error="return")
        if _SCHEDULER not in self._able:
            with suppress(Exception):  # a scheduler need not run what it is sent
                reasons[_SCHEDULER] = self.client.run_on_scheduler(_import_error())
        # What does not answer is about to be gone.
        self._unable |= {place: why for place, why in reasons.items() if isinstance(why, str)}
        self._able |= {*new, _SCHEDULER} - self._unable.keys()

    def _has_seen(self, workers: set[str]) -> None:
        """Have tasks of workers that are gone given to others, where Dask does not."""
        before, self._last_seen = self._last_seen, workers
        if not before or before == workers:
            return
        try:
            self.client.run_on_scheduler(_release_held_up())
        except Exception as error:  # a scheduler need not run what it is sent
            if not before & workers:
                raise ClusterError(
                    f"all workers are gone, and others do not get their tasks: {_one_line(error)}"
                ) from None

    def memory_left(self) -> float:
        """Return how many bytes all workers may have yet; infinity where one has no limit.

        Waits for a worker, as `workers` does.
        """
        workers = self._present().values()
        left = [each["memory_limit"] - each["metrics"].get("memory", 0) for each in workers]
        is_limited = all(each["memory_limit"] for each in workers)
        return float(sum(max(each, 0) for each in left)) if is_limited else float("inf")

    def holders_of(self, futures: Sequence[Any]) -> list[str | None]:
        """Return a worker that has what each task has returned, None where there is none."""
        with self._connected():
            holders = self.client.who_has(list(futures)) if futures else {}
        return [min(holders.get(future.key, ()), default=None) for future in futures]

    def submit(self, function: Callable[..., Any], *args: Any, worker: str | None = None) -> Any:
        """Start a task on a worker or, where that is gone, on another one."""
        with _large_graphs(), self._connected():
            future = self.client.submit(function, *args, pure=False, **_on(worker))
        self._futures.add(future)
        return future

    def send(self, value: Any, worker: str | None = None) -> Any:
        """Have a value on a worker, and count its bytes."""
        buffers: list[Any] = []
        pickled = cloudpickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        self._bytes_sent += len(pickled) + sum(each.raw().nbytes for each in buffers)
        return self.submit(_itself, value, worker=worker)

    def take_bytes_sent(self) -> int:
        """Return the bytes of what has been sent since the last call."""
        taken, self._bytes_sent = self._bytes_sent, 0
        return taken

    def compute(self, tasks: list[Any]) -> list[Any]:
        """Start lazy tasks, whose graphs are one: what they have in common is computed once."""
        with _large_graphs(), self._connected():
            futures: list[Any] = self.client.compute(tasks, optimize_graph=False)
        self._futures.update(futures)
        return futures

    @contextmanager
    def current(self) -> Iterator[None]:
        """Have Dask make graphs for this cluster, such as those of shuffles."""
        with _CONFIGURATION, self.client.as_current():
            yield

    def result(self, future: Any) -> Any:
        """Wait for a task, and return what it returns; raises as `wait`."""
        self._wait(future)
        with self._of_tasks(), self._connected(unless_failed=future):
            # The worker may be lost on the way, and be the last one: hence not `future.result()`.
            pending = run_coroutine_threadsafe(
                self.client.gather([future], asynchronous=True), self.client.loop.asyncio_loop
            )
            while not pending.done():
                try:
                    pending.result(_SECONDS_BETWEEN_LOOKS)
                except TimeoutError:
                    self.workers()
            return pending.result()[0]

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
            self._wait(future)

    def _wait(self, future: Any) -> None:
        with self._of_tasks():
            while future.status in ("pending", "lost"):  # what is lost, Dask makes again if it can
                try:
                    # Unlike `result`, leaves what the task returns where it is.
                    future.exception(timeout=_SECONDS_BETWEEN_LOOKS)
                except TimeoutError:
                    self.workers()
            if future.status == "error":
                raise future.exception()
            if future.status == "cancelled":
                future.result()  # raises

    def results(self, futures: Sequence[Any]) -> list[Any]:
        """Wait for tasks; see `result`."""
        return [self.result(future) for future in futures]

    def _look(self) -> dict[str, Any]:
        with self._connected():
            # Some versions tell of five workers, unless they are asked.
            info = self.client.scheduler_info(n_workers=-1)
        if self.client.status != "running" or "workers" not in info:
            raise ClusterError(_CONNECTION_LOST)
        found: dict[str, Any] = info["workers"]
        return found

    @contextmanager
    def _connected(self, unless_failed: Any = None) -> Iterator[None]:
        self._check_client()
        try:
            yield
        except _CANCELLED as error:
            raise ClusterError(self._why_cancelled(error)) from None
        except (OSError, *_CLOSED) as error:
            if unless_failed is not None and unless_failed.status == "error":
                raise  # what the task has raised, made again
            raise ClusterError(f"{_CONNECTION_LOST}: {_one_line(error)}") from None

    def _check_client(self) -> None:
        if self.client.status != "running":
            raise ClusterError(_CONNECTION_LOST)
        if self.client.generation != self._generation:
            raise ClusterError("the cluster has been restarted")

    @contextmanager
    def _of_tasks(self) -> Iterator[None]:
        """Say what has become of a task, where it is not the task that fails."""
        try:
            yield
        except KilledWorker as error:
            raise ClusterError(
                f"{error.allowed_failures + 1} workers died at one task, for want of memory perhaps; "
                f"the last one was {error.last_worker.address}"
            ) from None
        except _UNWANTED as error:
            raise ClusterError(f"no worker takes the tasks: {_one_line(error)}") from None
        except _CANCELLED as error:
            raise ClusterError(self._why_cancelled(error)) from None

    def _why_cancelled(self, error: BaseException) -> str:
        self._check_client()
        if "scheduler-connection-lost" in str(error):
            return _CONNECTION_LOST
        return f"data that cannot be made again were on a worker that is lost ({_one_line(error)})"


def _release_held_up() -> Callable[..., None]:
    """Return a function for the scheduler, which need not have this package.

    A task for a certain worker, or any other where that is gone, waits for ever once there was no worker at
    all: one that comes is offered tasks for certain workers only if it is one of them.
    """

    def release(dask_scheduler: Any) -> None:
        held_up = {
            task.key: "processing" for task in dask_scheduler.unrunnable if task.loose_restrictions
        }
        if held_up and dask_scheduler.running:
            dask_scheduler.transitions(held_up, "fastsoftmax: workers have changed")

    return release


def _import_error() -> Callable[[], str | None]:
    """Return a function, for processes that need not have this package, that says what is in the way."""

    def error() -> str | None:
        import importlib

        try:
            importlib.import_module("fastsoftmax.dask")
        except ImportError as error:
            return " ".join(str(error).split())
        return None

    return error


@contextmanager
def _large_graphs() -> Iterator[None]:
    """Keep Dask from warning of a large graph: weights and small partitions are a part of it.

    By its configuration: a filter of warnings would be left behind where fits in threads overlap.
    """
    with (
        _CONFIGURATION,
        dask.config.set({"distributed.admin.large-graph-warning-threshold": 1 << 60}),
    ):
        yield


def _itself(value: Any) -> Any:
    return value


def _secede() -> bool:
    """Leave the threads of a worker to the tasks of the fit, if that is a task itself.

    Returns whether there is something to rejoin.
    """
    if not getattr(thread_state, "proceed", False):  # no task, or it has seceded
        return False
    distributed.secede()
    return True


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
